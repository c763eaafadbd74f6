import signal
import socket
import subprocess
import sys

import pytest

from sandbox.pubsub.__main__ import Settings, main, parse_settings
from sandbox.pubsub.server import ServerSettings


def test_defaults():
    assert parse_settings([]) == Settings(ServerSettings(), admin_port=None)


def test_every_option():
    line = "--host 127.0.0.2 --port 1 --admin-port 0 --max-bytes 1000000 --pull-wait 0.5"
    expected = ServerSettings("127.0.0.2", 1, 1_000_000, 0.5, 9)
    assert parse_settings([*line.split(), "--fault-seed", "9"]) == Settings(expected, 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--port 70000", "expected a port from 0 to 65535, was '70000'"),
        ("--admin-port x", "was 'x'"),
        ("--max-bytes 10", "expected a number from 1000000, was '10'"),
        ("--pull-wait -1", "expected seconds from 0 to 600"),
        ("--pull-wait nan", "expected seconds from 0 to 600"),
    ],
)
def test_wrong_settings_end_with_2(line, reason, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_settings(line.split())
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
def test_a_taken_port_ends_with_2(option, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", "0", option, port]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_says_ready_and_stops_on_a_signal(number):
    command = [sys.executable, "-m", "sandbox.pubsub", "--port", "0", "--admin-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("ready on 127.0.0.1:")
        assert ", admin on 127.0.0.1:" in line
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
