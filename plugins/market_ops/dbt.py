"""How DAGs run the dbt project: one `dbt build` a run, through Cosmos.

The models of a run carry the same `built_at` and two invocations at a time are refused, so a task
is a whole build, never one model (docs/decisions/014-airflow.md).
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cosmos.config import ProfileConfig
from cosmos.operators.local import DbtBuildLocalOperator

from .assets import MARTS

logger = logging.getLogger(__name__)

PROFILE: Final = "crypto_solutions"
SLOWEST: Final = 5
# dbt's statuses of a node that spoil a build.
_BAD: Final = ("error", "fail", "runtime error")


class DbtBuild(DbtBuildLocalOperator):
    """Cosmos' `dbt build` without its reading of column lineage, which nobody receives.

    It takes seconds after each build and fills the log with what it cannot parse.
    """

    def calculate_openlineage_events_completes(self, *arguments: Any) -> bool:
        """Do nothing."""
        return False


def project_folder() -> Path:
    """Return the dbt project: `DBT_PROJECT_DIR`, else `dbt` beside the folder of the plugins."""
    return Path(os.environ.get("DBT_PROJECT_DIR") or Path(__file__).parents[2] / "dbt")


def profile_config() -> ProfileConfig:
    """Return the project's own profile; `DBT_TARGET` chooses between `bigquery` and `local`."""
    return ProfileConfig(
        profile_name=PROFILE,
        target_name=os.environ.get("DBT_TARGET", "bigquery"),
        profiles_yml_filepath=project_folder() / "profiles.yml",
    )


def build_arguments() -> dict[str, Any]:
    """Return the arguments of a `DbtBuild` of all models and data tests.

    Unit tests are left out: they test the SQL, not the data. The project's variables come from the
    Variable `market_ops` when the task runs.
    """
    cache = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "dbt"
    return {
        "project_dir": str(project_folder()),
        "profile_config": profile_config(),
        "dbt_cmd_global_flags": ["--no-use-colors"],
        "dbt_cmd_flags": ["--exclude-resource-type", "unit_test"],
        "env": {
            "GOOGLE_CLOUD_PROJECT": "{{ var.json.market_ops.project }}",
            "BIGQUERY_LOCATION": "{{ var.json.market_ops.get('location', 'US') }}",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        },
        "append_env": True,
        "install_deps": False,
        "emit_datasets": False,
        "should_store_compiled_sql": False,
        "cache_dir": cache,  # of dbt's parse, which takes longer than an incremental build
        "callback": keep_results,
    }


def keep_results(folder: str, *, context: Mapping[str, Any]) -> None:
    """Push a summary of the build as XCom `results` and with the event of the asset `marts`.

    Cosmos calls it after dbt, before it raises for a build that failed.

    Args:
        folder: the project folder of this run.
        context: Airflow's context of the task.
    """
    path = Path(folder) / "target" / "run_results.json"
    if not path.exists():
        return  # dbt ended before the first node; Cosmos raises with its reason
    results = summarise(json.loads(path.read_text("utf-8")))
    logger.info("%s", json.dumps(results, indent=2))
    context["ti"].xcom_push(key="results", value=results)
    context["outlet_events"][MARTS].extra = {
        name: results[name] for name in ("statuses", "milliseconds")
    }


def summarise(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people want to know of dbt's `run_results.json`.

    Returns:
        `statuses`, the number of nodes by status; `milliseconds`, all together; `bad`, what
        failed, with dbt's message by node; `slowest`, milliseconds of the slowest by node.
    """
    results = document["results"]
    slowest = sorted(results, key=lambda each: -each["execution_time"])[:SLOWEST]
    return {
        "statuses": dict(Counter(each["status"] for each in results)),
        "milliseconds": round(document["elapsed_time"] * 1000),
        "bad": {
            _name(each): str(each.get("message") or "")
            for each in results
            if each["status"] in _BAD
        },
        "slowest": {_name(each): round(each["execution_time"] * 1000) for each in slowest},
    }


def _name(result: Mapping[str, Any]) -> str:
    """Return `ohlcv_1m` of `model.crypto_solutions.ohlcv_1m`."""
    return str(result["unique_id"]).split(".")[2]
