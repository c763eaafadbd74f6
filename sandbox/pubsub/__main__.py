"""`python -m sandbox.pubsub`: the embedded Pub/Sub as a process.

Prints one line, `ready on HOST:PORT` (and `, admin on HOST:PORT` with `--admin-port`), when it
serves. SIGTERM and SIGINT stop it with exit code 0; a taken port, a wrong setting or a journal that
cannot be read ends it with 2.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.pubsub.admin import AdminServer
from sandbox.pubsub.journal import JournalError
from sandbox.pubsub.server import PortTakenError, PubSubServer, ServerSettings

EXIT_USAGE = 2
MIN_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the process. `admin_port` None: no admin endpoint."""

    server: ServerSettings
    admin_port: int | None


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Read the command line; ends the process with code 2 when it is wrong."""
    default = ServerSettings()
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.pubsub", description="Embedded Pub/Sub"
    )
    parser.add_argument("--host", default=default.host, help="default: %(default)s")
    parser.add_argument(
        "--port", type=_port, default=default.port, help="0: any free one; default: %(default)s"
    )
    parser.add_argument(
        "--admin-port", type=_port, help="faults and statistics over HTTP; 0: any free one; off"
    )
    parser.add_argument(
        "--max-bytes",
        type=_max_bytes,
        default=default.max_bytes,
        help="limit of the message memory; publishers wait when it is full; default: %(default)s",
    )
    parser.add_argument(
        "--pull-wait",
        type=_seconds,
        default=default.pull_wait_seconds,
        help="seconds that a pull waits for a first message at most; default: %(default)s",
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="keep what is held over restarts and kills; default: in memory only",
    )
    parser.add_argument("--fault-seed", type=int, default=default.fault_seed)
    options = parser.parse_args(arguments)
    server = ServerSettings(
        host=options.host,
        port=options.port,
        max_bytes=options.max_bytes,
        pull_wait_seconds=options.pull_wait,
        fault_seed=options.fault_seed,
        journal=options.journal,
    )
    return Settings(server, options.admin_port)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, was {text!r}")
    return int(text)


def _max_bytes(text: str) -> int:
    if not text.isdecimal() or int(text) < MIN_BYTES:
        raise argparse.ArgumentTypeError(f"expected a number from {MIN_BYTES}, was {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to 600, was {text!r}")
    return seconds


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        PortTakenError: one of the ports cannot be listened on.
        JournalError: the journal cannot be opened or is damaged.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with PubSubServer(settings.server) as server:
        line = f"ready on {server.address}"
        if settings.admin_port is None:
            print(line, flush=True)
            await stop.wait()
            return
        admin = AdminServer(server, settings.admin_port)
        await admin.start()
        try:
            print(f"{line}, admin on {admin.address}", flush=True)
            await stop.wait()
        finally:
            await admin.stop()


def main(arguments: Sequence[str]) -> int:
    """Run the process; return its exit code."""
    try:
        asyncio.run(serve(parse_settings(arguments)))
    except (PortTakenError, JournalError) as error:
        print(f"sandbox.pubsub: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
