"""`python -m sandbox.exchange`: serve the simulated Binance until SIGTERM or SIGINT.

Prints one line "ready on http://HOST:PORT" to stdout. Exit codes: 0 stopped as asked, 2 wrong
settings, a taken port or an unreadable recording.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import sys

from sandbox.exchange.server import Exchange
from sandbox.exchange.settings import Settings, parse_settings


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Exchange(settings) as exchange:
        print(f"ready on {exchange.url}", flush=True)
        await exchange.run_until(stop)


def main() -> int:
    """Run the server; returns the exit code."""
    settings = parse_settings(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_serve(settings))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            print(f"exchange: {error}", file=sys.stderr)
            return 2
        place = f"{settings.host}:{settings.port}"
        print(
            f"exchange: {place} is taken; stop what listens there or choose another --port",
            file=sys.stderr,
        )
        return 2
    except ValueError as error:
        print(f"exchange: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
