import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from collector import http


@asynccontextmanager
async def serving(
    health: dict[str, Any] | None = None, ledger: dict[str, Any] | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    registry = CollectorRegistry()
    Counter("collector_beats", "Beats.", registry=registry).inc(7)
    runner, port = await http.serve(
        "127.0.0.1",
        0,
        registry=registry,
        health=lambda: health or {"status": "ok"},
        ledger=lambda: ledger or {},
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "code"), [("ok", 200), ("starting", 503), ("failing", 503), ("", 503)]
)
async def test_health(status: str, code: int) -> None:
    body = {"status": status, "connections": {}}
    async with serving(health=body) as client, client.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (code, body)


async def test_metrics() -> None:
    async with serving() as client, client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "collector_beats_total 7.0" in (await answer.text()).splitlines()


async def test_ledger() -> None:
    body = {"symbols": [{"symbol": "币安USDT", "sum_quantity": "0.100000000"}]}
    async with serving(ledger=body) as client, client.get("/ledger") as answer:
        assert (answer.status, await answer.json()) == (200, body)


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/", 404), ("POST", "/healthz", 405)])
async def test_anything_else(method: str, path: str, code: int) -> None:
    async with serving() as client, client.request(method, path) as answer:
        assert answer.status == code


async def test_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await http.serve(
            "127.0.0.1",
            taken.getsockname()[1],
            registry=CollectorRegistry(),
            health=dict,
            ledger=dict,
        )
