"""Airflow in a process of its own, for tests of DAGs: a line in, an answer out.

A test gives a script; `serve` is there, and `told`, what a run came to. The database of each is a
copy of one that is made once a session: making it takes longer than most runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sandbox.settings import ROOT

MIGRATE_SECONDS = 120
EXIT_SECONDS = 120
# What every script begins with; a question's `settings` are the Variable.
PRELUDE = '''
import json, os, sys
sys.path[:0] = sys.argv[1:]

def serve(answer):
    """Answer each question: answer(asked) returns what JSON can hold."""
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ["AIRFLOW_VAR_MARKET_OPS"] = json.dumps(asked["settings"])
        print("answer " + json.dumps(answer(asked)), flush=True)

def told(run, **more):
    """Return how a run and its tasks ended; mapped tasks are a list."""
    tasks = {}
    for each in sorted(run.get_task_instances(), key=lambda each: each.map_index):
        state = str(each.state)
        if each.map_index >= 0:
            tasks.setdefault(each.task_id, []).append(state)
        else:
            tasks[each.task_id] = state
    return {"run_id": run.run_id, "state": str(run.state), "tasks": tasks} | more
'''


def environment(folder: Path, emulators: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an Airflow whose home is `folder`."""
    connection = {
        "conn_type": "google_cloud_platform",
        "extra": {"is_anonymous": True, "project": "unused-project"},
    }
    return {
        **os.environ,
        **emulators,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "someone:viewer",
        # Made by `airflow db migrate` in its own home, which is another one.
        "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONWARNINGS": "ignore",
        # Temporary files of a run lie where its test can look for those that were left.
        "TMPDIR": str(folder),
    }


def migrate(folder: Path) -> Path:
    """Make Airflow's database in a folder and return its file."""
    command = [Path(sys.executable).parent / "airflow", "db", "migrate"]
    done = subprocess.run(
        command,
        env=environment(folder, {}),
        capture_output=True,
        text=True,
        timeout=MIGRATE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "airflow.db"


class Airflow:
    """A process with Airflow in it that runs a script.

    Args:
        script: is run behind `PRELUDE`.
        folder: its AIRFLOW_HOME, empty.
        database: of `migrate`.
        emulators: addresses, and other variables of the environment.
    """

    def __init__(
        self, script: str, folder: Path, database: Path, emulators: Mapping[str, str]
    ) -> None:
        shutil.copy(database, folder / database.name)
        self.folder = folder
        self._command = [sys.executable, "-c", PRELUDE + script]
        self._environment = environment(folder, emulators)
        self._log = folder / "airflow.log"

    def __enter__(self) -> Self:
        self._errors = self._log.open("wb")
        self._process = subprocess.Popen(
            [*self._command, str(ROOT / "plugins"), str(ROOT / "dags")],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        self._process.wait(EXIT_SECONDS)
        self._output.close()
        self._errors.close()

    def ask(self, **question: Any) -> dict[str, Any]:
        """Ask and return the answer; its `log` is what was printed meanwhile."""
        self._input.write(json.dumps(question) + "\n")
        self._input.flush()
        printed = []
        for line in self._output:
            if line.startswith("answer "):
                return {**json.loads(line.removeprefix("answer ")), "log": "".join(printed)}
            printed.append(line)
        raise AssertionError(self._log.read_text(errors="replace")[-5000:])
