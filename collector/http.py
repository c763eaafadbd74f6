"""The collector's own HTTP endpoints: /healthz, /metrics and /ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


async def serve(
    host: str,
    port: int,
    *,
    registry: CollectorRegistry,
    health: Callable[[], dict[str, Any]],
    ledger: Callable[[], dict[str, Any]],
) -> tuple[web.AppRunner, int]:
    """Serve until the runner is cleaned up.

    Args:
        host: address to bind.
        port: port to bind; 0 picks one.
        registry: what /metrics shows.
        health: returns the body of /healthz; its `status` "ok" gives HTTP 200, all else 503.
        ledger: returns the body of /ledger.

    Returns:
        The runner and the bound port.

    Raises:
        OSError: the port is taken.
    """

    async def on_health(_: web.Request) -> web.Response:
        body = health()
        return web.json_response(body, status=200 if body["status"] == "ok" else 503)

    async def on_metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def on_ledger(_: web.Request) -> web.Response:
        return web.json_response(ledger())

    application = web.Application()
    application.router.add_get("/healthz", on_health)
    application.router.add_get("/metrics", on_metrics)
    application.router.add_get("/ledger", on_ledger)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, int(runner.addresses[0][1])
