"""The real gcloud, where it is installed, knows every flag of the commands that a deployment gives.

It reads a command before it asks who is logged in, which nobody is here: nothing is sent.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy import dataflow
from deploy.commands import Command
from tests.deploy.test_dataflow import job

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed"),
]
LABELS = {"env": "dev", "version": "1", "launch": "0"}


def said(command: Command, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr  # 2 is a wrong command
    return done.stderr


def test_commands_are_understood(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name[:9] != "CLOUDSDK_"},
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    }
    # Those that have almost all flags; each costs gcloud two seconds of processor time.
    commands = (
        dataflow.build(job(), "1", LABELS),
        dataflow.validate(job(), "1", LABELS),
        dataflow.find_image(job(), "1"),
    )
    with ThreadPoolExecutor(2) as threads:
        for text in threads.map(lambda command: said(command, environment), commands):
            assert "do not currently have an active account" in text
