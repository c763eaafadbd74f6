"""Parses a folder of DAGs as Airflow's processor does and prints what tests want to know, as JSON.

`python tests/dags/bag.py FOLDER`, a process of its own: what parsing imports is seen only there,
and Airflow's home is not the developer's.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

# Each costs memory or seconds in every process of Airflow that parses the file.
HEAVY = (
    *("dbt", "duckdb", "great_expectations", "matplotlib", "numpy", "pandas", "polars", "pyarrow"),
    *("google.cloud.bigquery", "google.cloud.storage", "google.cloud.pubsub_v1", "grpc"),
)


def facts(dag: Any) -> dict[str, Any]:
    """Return what the policies judge."""
    return {
        "doc": dag.doc_md or "",
        "tags": sorted(dag.tags),
        "max_active_runs": dag.max_active_runs,
        "dagrun_timeout": dag.dagrun_timeout.total_seconds() if dag.dagrun_timeout else None,
        "catchup": dag.catchup,
        "schedule": None if dag.schedule is None else str(dag.schedule),
        "tasks": {
            task.task_id: {
                "owner": task.owner,
                "retries": task.retries,
                "execution_timeout": task.execution_timeout is not None,
            }
            for task in dag.tasks
        },
    }


def main(folder: str) -> None:
    with warnings.catch_warnings(record=True):
        import airflow.sdk
        import airflow.serialization.serialized_objects  # noqa: F401
        from airflow.dag_processing.dagbag import DagBag
        from airflow.sdk import Variable

        def refuse(*arguments: Any, **options: Any) -> None:
            raise AssertionError(f"Variable.get{arguments}: read while the file is parsed")

        Variable.get = refuse  # type: ignore[method-assign]
        before = {name for name in HEAVY if name in sys.modules}
        warnings.simplefilter("always")
        began = time.perf_counter()
        bag = DagBag(folder)
        seconds = time.perf_counter() - began
        # Only the DAGs' own: those of dependencies are the dependencies'.
        texts = [text for found in bag.captured_warnings.values() for text in found]
        ours = [text for text in texts if text.startswith(str(Path(folder).resolve()))]
    document = {
        "dags": {name: facts(dag) for name, dag in bag.dags.items()},
        "errors": {Path(path).name: error for path, error in bag.import_errors.items()},
        "warnings": ours,
        "seconds": seconds,
        "files": {Path(stat.file).name: stat.duration.total_seconds() for stat in bag.dagbag_stats},
        "heavy": sorted(name for name in HEAVY if name in sys.modules and name not in before),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main(sys.argv[1])
