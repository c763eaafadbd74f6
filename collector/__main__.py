"""`python -m collector`: read the settings, run the service, drain on SIGTERM.

Exit codes: 0 drained, 1 failed, 2 wrong settings, 3 stopped with frames left in the spool.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import uvloop
from google.auth.exceptions import DefaultCredentialsError

from collector.logs import configure_logs
from collector.publisher import PubSubPublisher
from collector.rest import ExchangeError
from collector.selection import SelectionError
from collector.service import Service
from collector.settings import Settings, SettingsError, describe, read_settings
from collector.spool import SpoolError
from market_data.memory import keep_freed_memory

log = logging.getLogger("collector")


def main() -> int:
    """Run the collector and return its exit code."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logs(settings.log_level)
    keep_freed_memory()
    log.info("starting with %s", describe(settings))
    try:
        return uvloop.run(_run(settings))
    except DefaultCredentialsError as error:
        print(
            f"PUBSUB_PROJECT: no credentials for {settings.pubsub_project} ({error}); run as a"
            " service account that may publish, or set PUBSUB_EMULATOR_HOST",
            file=sys.stderr,
        )
        return 2
    except (SelectionError, SpoolError) as error:
        print(error, file=sys.stderr)
        return 2
    except ExchangeError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"COLLECTOR_HTTP_PORT: can't serve on {settings.http_host}:{settings.http_port}:"
            f" {error}; choose another port",
            file=sys.stderr,
        )
        return 1


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    publisher = PubSubPublisher(settings.pubsub_project, settings.pubsub_topic)
    is_drained = await Service(settings, publisher).run(stop)
    return 0 if is_drained else 3


if __name__ == "__main__":
    sys.exit(main())
