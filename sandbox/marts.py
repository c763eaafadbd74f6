"""Rebuilds dbt's marts while the sandbox runs: one dbt process at a time, its log in a file.

Used by `sandbox.demo`, from its main thread: a build is a child that ends with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sandbox.process import resident_bytes, spawn, stop
from sandbox.settings import Platform, Settings

DBT: Final = Path(sys.executable).with_name("dbt")
_GRACE_SECONDS: Final = 5.0


class Marts:
    """dbt over one platform.

    Args:
        settings: of the run.
        platform: where it is.
        run_id: mark of the run's processes.
    """

    def __init__(self, settings: Settings, platform: Platform, run_id: str) -> None:
        self._platform = platform
        self._run_id = run_id
        self._environment = {
            **os.environ,
            **settings.client_environment,
            "NO_PROXY": "127.0.0.1,localhost",
            "DBT_TARGET": "local",
            "DBT_TARGET_PATH": str(platform.home / "dbt" / "target"),
            "DBT_LOG_PATH": str(platform.home / "dbt" / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self.runs = 0
        self.seconds = 0.0
        self.is_good = True
        self.peak_resident_bytes = 0

    @property
    def log(self) -> Path:
        """The log of the last build."""
        return self._platform.home / "logs" / "dbt.log"

    @property
    def is_running(self) -> bool:
        """True while dbt runs; notices its end."""
        if self._process is None:
            return False
        exit_code = self._process.poll()
        if exit_code is None:
            resident = resident_bytes([self._process.pid])[self._process.pid]
            self.peak_resident_bytes = max(self.peak_resident_bytes, resident)
            return True
        self._process, self.is_good = None, exit_code == 0
        self.runs += 1
        self.seconds = time.monotonic() - self._started
        return False

    def start(self, command: str) -> None:
        """Start `dbt run` or `dbt build` (without unit tests), unless one is running."""
        if self.is_running:
            return
        folder = str(self._platform.dbt_dir)
        with self.log.open("wb") as log:
            self._process = spawn(
                [
                    *(str(DBT), "--no-use-colors", command),
                    *("--project-dir", folder, "--profiles-dir", folder),
                    *(("--exclude-resource-type", "unit_test") if command == "build" else ()),
                ],
                run_id=self._run_id,
                environment=self._environment,
                directory=self._platform.dbt_dir,
                output=log,
            )
        self._started = time.monotonic()

    def wait(self, meanwhile: Callable[[], object]) -> bool:
        """Wait for the end, calling `meanwhile` in between; True when dbt succeeded."""
        while self.is_running:
            meanwhile()
        return self.is_good

    def close(self) -> None:
        """End a build that is running."""
        if self._process is not None:
            stop(self._process, _GRACE_SECONDS)
            self._process = None
