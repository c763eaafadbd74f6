import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process

import pytest

from .conftest import within

pytestmark = pytest.mark.integration


async def start(*arguments: str) -> Process:
    command = [sys.executable, "-m", "sandbox.exchange", "--symbols", "3", "--history", "60"]
    return await asyncio.create_subprocess_exec(*command, *arguments, stdout=PIPE, stderr=PIPE)


async def test_it_says_when_it_is_ready_and_stops_on_sigterm() -> None:
    process = await start("--port", "0", "--shutdown-notice", "0.1")
    assert process.stdout
    line = await within(process.stdout.readline(), 30)
    assert isinstance(line, bytes)
    assert line.startswith(b"ready on http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    assert await within(process.wait(), 10) == 0


async def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await start("--port", str(port))
        output = await within(process.communicate(), 30)
    assert isinstance(output, tuple)
    assert process.returncode == 2
    assert f"127.0.0.1:{port} is taken" in output[1].decode()
