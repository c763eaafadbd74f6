"""Rebuilds dbt's marts while the sandbox runs: one dbt command at a time, its log in a file.

Used by `sandbox.demo`, from its main thread. dbt is a child that ends with it (`sandbox.dbt_host`),
started by the first command and kept for the next ones.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, cast

import psutil

from sandbox.process import resident_bytes, spawn, stop
from sandbox.settings import ROOT, Platform, Settings

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
        self._dbt: subprocess.Popen[bytes] | None = None
        self._is_busy = False
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
    def cpu_seconds(self) -> float:
        """What dbt took so far, with every command that has ended."""
        if self._dbt is None:
            return 0.0
        times = psutil.Process(self._dbt.pid).cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    @property
    def is_running(self) -> bool:
        """True while dbt runs; notices its end."""
        if self._dbt is None or not self._is_busy:
            return False
        if not select.select([self._dbt.stdout], [], [], 0)[0]:
            resident = resident_bytes([self._dbt.pid])[self._dbt.pid]
            self.peak_resident_bytes = max(self.peak_resident_bytes, resident)
            return True
        exit_code = cast("IO[bytes]", self._dbt.stdout).readline()
        self._is_busy, self.is_good = False, exit_code == b"0\n"
        self.runs += 1
        self.seconds = time.monotonic() - self._started
        if not exit_code:  # dbt itself has ended
            self.close()
        return False

    def start(self, command: str) -> None:
        """Start `dbt run` or `dbt build` (without unit tests), unless one is running."""
        if self.is_running:
            return
        self._started = time.monotonic()
        if self._dbt is None:
            self._dbt = self._start_dbt()
        arguments = ["--no-use-colors", "--no-write-json", command]
        if command == "build":
            arguments += ["--exclude-resource-type", "unit_test"]
        commands = cast("IO[bytes]", self._dbt.stdin)
        commands.write(json.dumps(arguments).encode() + b"\n")
        commands.flush()
        self._is_busy = True

    def wait(self, meanwhile: Callable[[], object]) -> bool:
        """Wait for the end, calling `meanwhile` in between; True when dbt succeeded."""
        while self.is_running:
            meanwhile()
        return self.is_good

    def close(self) -> None:
        """End dbt, with a build that is running."""
        if self._dbt is not None:
            with self._dbt:  # closes the pipes
                stop(self._dbt, _GRACE_SECONDS)
            self._dbt, self._is_busy = None, False

    def _start_dbt(self) -> subprocess.Popen[bytes]:
        folder, log = str(self._platform.dbt_dir), str(self.log)
        return spawn(
            [sys.executable, "-m", "sandbox.dbt_host", folder, log],
            run_id=self._run_id,
            environment=self._environment,
            directory=ROOT,
            output=subprocess.PIPE,
            commands=subprocess.PIPE,
        )
