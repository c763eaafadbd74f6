"""The bag of all DAGs, parsed once, and an Airflow home of the tests' own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.settings import ROOT

Parse = Callable[[Path], dict[str, Any]]


def environment(home: Path) -> dict[str, str]:
    """Return an environment with an Airflow that knows nothing of the developer's."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")
    }
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": str(ROOT / "plugins"),
    }


@pytest.fixture(scope="session")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Parse:
    """Parse a folder of DAGs in a process of its own."""

    def run(folder: Path) -> dict[str, Any]:
        process = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("bag.py")), str(folder)],
            cwd=ROOT,
            env=environment(tmp_path_factory.mktemp("airflow")),
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        document: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
        return document

    return run


@pytest.fixture(scope="session")
def bag(parse: Parse) -> Mapping[str, Any]:
    """The repository's DAGs."""
    return parse(ROOT / "dags")
