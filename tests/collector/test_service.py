"""The whole collector against the simulated exchange and the embedded Pub/Sub."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collector import service
from collector.publisher import PubSubPublisher
from collector.rest import ExchangeError, fetch_exchange_info
from collector.service import Service
from collector.settings import TRANSPORTS, Settings
from market_data.frames import Frame, decode_frame, split_lines
from sandbox.exchange.server import Exchange
from sandbox.exchange.settings import Settings as ExchangeSettings
from sandbox.probes import free_ports, get
from tests.sandbox.pubsub.conformance import ONCE, Line, connected, embedded_with_admin

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

ROOT = Path(__file__).parents[2]
SECONDS = 20.0
QUIET_SECONDS = 0.3  # the market and the collector move ten times as often
NO_WARNINGS = {"PYTHONWARNINGS": "ignore::FutureWarning"}  # Google's, on our Python, at import


@dataclass(frozen=True)
class Broker:
    """An embedded Pub/Sub: its gRPC address and the URL of its faults."""

    address: str
    faults: str


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with embedded_with_admin() as (address, admin):
        yield Broker(address, f"{admin}/faults")


@pytest.fixture
def line(broker: Broker) -> Iterator[Line]:
    """A topic and a subscription of the test's own; the clients find the emulator."""
    with connected(broker.address) as clients:
        yield Line(clients)


def settings_for(exchange_url: str, line: Line, spool: Path, **changes: Any) -> Settings:
    base = Settings(
        ws_url=exchange_url.replace("http", "ws", 1),
        rest_url=exchange_url,
        quote_assets=("*",),
        channels=("trade",),
        collector_id="c1",
        frame_age_ms=20,
        control_totals="full",
        spool_dir=spool,
        heal_after_ms=100,
        http_port=free_ports("127.0.0.1", 1)[0],
        pubsub_project=line.project.split("/")[1],
        pubsub_topic=line.topic.split("/")[-1],
    )
    return replace(base, **changes)


def frames_in(line: Line, count: int) -> list[Frame]:
    """Pull this many distinct frames from the subscription."""
    frames: dict[str, Frame] = {}
    deadline = time.monotonic() + SECONDS
    while len(frames) < count:
        assert time.monotonic() < deadline, f"{len(frames)} of {count} frames came"
        received = line.pull(500, wait=5)
        for item in received:
            frame = decode_frame(item.message.data)
            assert item.message.attributes["frame_id"] == frame.header.frame_id
            assert item.message.attributes["channel"] == frame.header.channel
            frames[frame.header.frame_id] = frame
        if received:
            line.ack(received)
    return sorted(frames.values(), key=lambda f: (f.header.epoch, f.header.sequence))


def ids_of(frames: list[Frame]) -> dict[str, list[int]]:
    """Return the ids of all trades in the frames, by symbol."""
    ids: dict[str, list[int]] = defaultdict(list)
    for frame in frames:
        if frame.header.channel == "trade":
            for text in split_lines(frame.body):
                payload = json.loads(text)["data"]
                ids[payload["s"]].append(payload["t"])
    return ids


class Bench:
    """An exchange and a collector that runs against it."""

    def __init__(
        self, exchange: Exchange, settings: Settings, client: aiohttp.ClientSession
    ) -> None:
        self.exchange, self.settings, self._client = exchange, settings, client
        self.stop = asyncio.Event()
        publisher = PubSubPublisher(settings.pubsub_project, settings.pubsub_topic)
        self.running = asyncio.create_task(Service(settings, publisher).run(self.stop))

    async def ask(self, path: str) -> dict[str, Any]:
        """Return the body of one of the collector's own endpoints."""
        async with self._client.get(f"http://127.0.0.1:{self.settings.http_port}{path}") as answer:
            return json.loads(await answer.text())  # type: ignore[no-any-return]

    async def sim(self, path: str) -> dict[str, Any]:
        """Tell or ask the exchange."""
        method = "GET" if path in ("/sim/totals", "/sim/status") else "POST"
        async with self._client.request(method, self.exchange.url + path) as answer:
            return json.loads(await answer.text())  # type: ignore[no-any-return]

    async def wait_for(
        self, condition: Callable[[dict[str, Any]], bool], path: str
    ) -> dict[str, Any]:
        """Ask until the answer fulfils the condition, and return it."""
        async with asyncio.timeout(SECONDS):
            while True:
                assert not self.running.done(), self.running
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    found = await self.ask(path)
                    if condition(found):
                        return found
                await asyncio.sleep(0.02)

    async def collected(self, lines: int) -> None:
        await self.wait_for(lambda ledger: ledger["lines"]["published"] >= lines, "/ledger")

    async def healthy(self) -> dict[str, Any]:
        return await self.wait_for(lambda health: health["status"] == "ok", "/healthz")

    async def quiet(self) -> None:
        """Let the market sleep and wait until nothing moves any more, and nothing is missing."""
        await self.sim("/sim/pause")
        before: tuple[int, ...] = ()
        async with asyncio.timeout(SECONDS):
            while True:
                sent = (await self.sim("/sim/status"))["sent_messages"]
                ledger = await self.ask("/ledger")
                after = (sent, ledger["messages"].get("trade", 0), ledger["frames"]["sealed"])
                is_still = after == before and ledger["frames"]["pending"] == 0
                if is_still and not (await self.ask("/healthz"))["holes"]["open"]:
                    return
                before = after
                await asyncio.sleep(QUIET_SECONDS)


@asynccontextmanager
async def bench(line: Line, spool: Path, **changes: Any) -> AsyncIterator[Bench]:
    exchange_settings = ExchangeSettings(port=0, symbols=6, rate=800, history_s=60)
    async with Exchange(exchange_settings) as exchange, aiohttp.ClientSession() as client:
        it = Bench(exchange, settings_for(exchange.url, line, spool, **changes), client)
        try:
            yield it
        finally:
            it.stop.set()
            await it.running


async def pulled(line: Line, count: int) -> list[Frame]:
    return await asyncio.to_thread(frames_in, line, count)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_the_exchange_sent_is_what_was_published(
    line: Line, tmp_path: Path, transport: str
) -> None:
    async with bench(line, tmp_path, transport=transport) as it:
        health = await it.healthy()
        assert (health["collector"], health["pending_frames"] >= 0) == ("c1", True)
        assert list(health["connections"]) == ["trade-0"]
        await it.collected(1000)
        await it.quiet()
        totals = (await it.sim("/sim/totals"))["trades"]
        ledger = await it.ask("/ledger")
        metrics = await metrics_of(it)
        it.stop.set()
        assert await it.running is True

    assert ledger["frames"]["sealed"] == ledger["frames"]["published"]
    assert metrics["collector_published_frames_total"] >= ledger["frames"]["published"]
    frames = await pulled(line, ledger["frames"]["published"])
    assert {frame.header.channel for frame in frames} == {"exchangeInfo", "trade", "control"}
    assert_whole(frames, totals)
    assert all(found == sorted(found) for found in ids_of(frames).values())
    names = ("count", "sum_ids", "first_id", "last_id", "sum_quantity", "sum_quote_quantity")
    assert by_symbol(ledger["symbols"], *names) == by_symbol(totals, *names)


def holes_in(frames: list[Frame]) -> list[dict[str, Any]]:
    """Return the records of holes in the frames."""
    return [
        json.loads(text)["data"]
        for frame in frames
        if frame.header.channel == "hole"
        for text in split_lines(frame.body)
    ]


def assert_whole(frames: list[Frame], totals: list[dict[str, Any]]) -> None:
    """Check that the frames have every trade of the exchange's own account exactly once."""
    assert [frame.header.sequence for frame in frames] == list(range(1, len(frames) + 1))
    ids = ids_of(frames)
    assert all(len(found) == len(set(found)) for found in ids.values())
    assert {
        symbol: {
            "count": len(found),
            "sum_ids": sum(found),
            "first_id": min(found),
            "last_id": max(found),
        }
        for symbol, found in ids.items()
    } == by_symbol(totals, "count", "sum_ids", "first_id", "last_id")


def by_symbol(rows: list[dict[str, Any]], *names: str) -> dict[str, dict[str, Decimal]]:
    """Return some numbers of control totals by symbol, comparable however they are written."""
    return {row["symbol"]: {name: Decimal(row[name]) for name in names} for row in rows}


async def metrics_of(it: Bench) -> dict[str, float]:
    url = f"http://127.0.0.1:{it.settings.http_port}/metrics"
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        lines = (await answer.text()).splitlines()
    pairs = (text.rsplit(" ", 1) for text in lines if not text.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def test_a_cut_is_followed_by_a_new_connection_and_healed(line: Line, tmp_path: Path) -> None:
    async with bench(line, tmp_path, channels=("trade", "aggTrade")) as it:
        await it.collected(200)
        assert await it.sim("/sim/cut") == {"connections": 2}
        health = await it.wait_for(
            lambda found: found["connections"]["trade-0"]["connects"] == 2, "/healthz"
        )
        assert health["connections"]["trade-0"]["last_end"].startswith("code 1006")
        before = (await it.ask("/ledger"))["lines"]["published"]
        await it.collected(before + 200)
        await it.wait_for(lambda found: found["connections"]["aggTrade-0"]["is_open"], "/healthz")
        await it.quiet()
        totals = await it.sim("/sim/totals")
        metrics = await metrics_of(it)
        ledger = await it.ask("/ledger")
    frames = await pulled(line, ledger["frames"]["published"])
    assert_whole(frames, totals["trades"])
    names = ("count", "sum_ids", "first_id", "last_id")
    for channel, kind in (("trade", "trades"), ("aggTrade", "agg_trades")):
        received = [each for each in ledger["symbols"] if each["channel"] == channel]
        assert by_symbol(received, *names) == by_symbol(totals[kind], *names)
    holes = holes_in(frames)
    assert {(each["channel"], each["cause"], each["outcome"]) for each in holes} == {
        *(("trade", "disconnect", "healed"), ("aggTrade", "disconnect", "healed")),
    }
    by_id = {frame.header.frame_id: frame.header for frame in frames}
    for hole in holes:
        carried = [by_id[name].symbols[hole["symbol"]] for name in hole["frames"].split(", ")]
        assert sum(totals.count for totals in carried) >= hole["missing"]
        assert hole["found_at"] < hole["closed_at"]
    missed = sum(each["missing"] for each in holes)
    assert metrics['collector_hole_ids_total{outcome="healed"}'] == missed > 0
    assert metrics["collector_rest_weight_total"] <= 20 + 25 * len(holes)


async def test_the_server_s_notice_replaces_each_connection_once_and_loses_nothing(
    line: Line, tmp_path: Path
) -> None:
    async with bench(line, tmp_path, streams_per_connection=2) as it:
        await it.healthy()
        await it.collected(200)
        assert await it.sim("/sim/shutdown-notice") == {"connections": 3}
        health = await it.wait_for(
            lambda found: all(each["rotations"] == 1 for each in found["connections"].values()),
            "/healthz",
        )
        assert {each["connects"] for each in health["connections"].values()} == {2}
        before = (await it.ask("/ledger"))["lines"]["published"]
        await it.collected(before + 400)
        await it.quiet()
        totals = (await it.sim("/sim/totals"))["trades"]
        metrics = await metrics_of(it)
        ledger = await it.ask("/ledger")
    assert metrics["collector_duplicate_messages_total"] > 0
    assert metrics["collector_subscribed_streams"] == 6
    frames = await pulled(line, ledger["frames"]["published"])
    assert_whole(frames, totals)
    assert holes_in(frames) == []


async def test_a_symbol_is_followed_and_dropped_while_it_runs(line: Line, tmp_path: Path) -> None:
    async with bench(line, tmp_path, exchange_info_seconds=1) as it:
        await it.healthy()
        assert await it.sim("/sim/list?symbol=NEWUSDT") == {"symbols": 9}
        health = await it.wait_for(
            lambda found: found["connections"]["trade-0"]["streams"] == 7, "/healthz"
        )
        assert health["symbols"] == 7
        await it.sim("/sim/delist?symbol=BTCUSDT")
        await it.wait_for(lambda found: found["connections"]["trade-0"]["streams"] == 6, "/healthz")
        assert (await it.sim("/sim/status"))["subscriptions"] == 6
        assert (await metrics_of(it))["collector_subscribed_streams"] == 6


async def test_one_of_two_collectors_may_die(line: Line, tmp_path: Path) -> None:
    async with bench(line, tmp_path / "one") as it, aiohttp.ClientSession() as client:
        await it.collected(200)
        settings = settings_for(it.exchange.url, line, tmp_path / "two", collector_id="c2")
        other = Bench(it.exchange, settings, client)
        await other.collected(200)
        it.running.cancel()
        await asyncio.gather(it.running, return_exceptions=True)
        it.settings, it.stop, it.running = other.settings, other.stop, other.running
        await it.collected((await it.ask("/ledger"))["lines"]["published"] + 400)
        await it.quiet()
        totals = (await it.sim("/sim/totals"))["trades"]
        ledger = await it.ask("/ledger")
    expected = {each["symbol"]: range(each["first_id"], each["last_id"] + 1) for each in totals}
    frames: list[Frame] = []
    while {symbol: set(found) for symbol, found in ids_of(frames).items()} != {
        symbol: set(ids) for symbol, ids in expected.items()
    }:
        frames += await pulled(line, 1)  # it fails when nothing comes any more
    assert {frame.header.collector for frame in frames} == {"c1", "c2"}
    assert any(len(found) > len(set(found)) for found in ids_of(frames).values())
    assert ledger["collector"] == "c2"
    received = sum(each["count"] for each in ledger["symbols"])
    assert received < sum(len(ids) for ids in expected.values()), "not alone"


async def test_a_full_spool_drops_and_heals_and_never_holds_the_exchange_back(
    line: Line, tmp_path: Path, broker: Broker
) -> None:
    fault = {"kind": "unavailable", "target": "publish"}
    async with (
        aiohttp.ClientSession() as admin,
        bench(line, tmp_path, spool_max_bytes=20_000) as it,
    ):
        async with admin.post(broker.faults, json=fault) as answer:
            assert answer.status == 201
        health = await it.wait_for(lambda found: found["is_dropping"], "/healthz")
        assert (health["status"], health["pending_frames"] > 0) == ("failing", True)
        await it.wait_for(lambda ledger: ledger["messages"]["trade"] > 2_000, "/ledger")
        async with admin.delete(broker.faults) as answer:
            assert answer.status == 200
        health = await it.wait_for(lambda found: not found["is_dropping"], "/healthz")
        assert health["connections"]["trade-0"]["connects"] == 1
        before = (await it.ask("/ledger"))["lines"]["published"]
        await it.collected(before + 800)
        await it.quiet()
        metrics = await metrics_of(it)
        totals = (await it.sim("/sim/totals"))["trades"]
        ledger = await it.ask("/ledger")
    frames = await pulled(line, ledger["frames"]["published"])
    assert_whole(frames, totals)
    holes = holes_in(frames)
    assert {(each["cause"], each["outcome"]) for each in holes} == {("dropped", "healed")}
    dropped = metrics['collector_dropped_messages_total{channel="trade"}']
    assert dropped == sum(each["missing"] for each in holes) > 0


async def test_symbols_are_told_at_start_and_when_they_change(line: Line, tmp_path: Path) -> None:
    def told(ledger: dict[str, Any]) -> int:
        return int(ledger["messages"].get("exchangeInfo", 0))

    async with bench(line, tmp_path, exchange_info_seconds=1) as it:
        await it.wait_for(lambda ledger: told(ledger) == 8, "/ledger")
        await it.sim("/sim/list?symbol=BTCUSDT&status=HALT")
        await it.wait_for(lambda ledger: told(ledger) == 9, "/ledger")
        await it.sim("/sim/delist?symbol=BCCBTC")
        await it.wait_for(lambda ledger: told(ledger) == 16, "/ledger")
        await it.quiet()
        ledger = await it.ask("/ledger")
    frames = await pulled(line, ledger["frames"]["published"])
    symbols = [frame for frame in frames if frame.header.channel == "exchangeInfo"]
    assert {(f.header.source, tuple(f.header.symbols)) for f in symbols} == {("rest", ())}
    lines = [[json.loads(text) for text in split_lines(frame.body)] for frame in symbols]
    assert [(len(each), {text["listed"] for text in each}) for each in lines] == [
        (8, {8}),
        (1, {8}),
        (7, {7}),
    ]
    (change,) = lines[1]
    assert (change["data"]["symbol"], change["data"]["status"]) == ("BTCUSDT", "HALT")
    assert "BCCBTC" not in {text["data"]["symbol"] for text in lines[2]}


async def test_a_later_refusal_of_exchange_info_ends_nothing(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    async def fetch(*arguments: Any, **options: Any) -> list[bytes]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise ExchangeError("HTTP 403: WAF")
        return await fetch_exchange_info(*arguments, **options)

    monkeypatch.setattr(service, "fetch_exchange_info", fetch)
    async with bench(line, tmp_path, exchange_info_seconds=1) as it:
        health = await it.wait_for(lambda _: asked == 3, "/healthz")
    assert health["status"] == "ok"
    assert "symbols stay as they were last told: HTTP 403: WAF" in caplog.messages


async def test_a_stop_before_the_exchange_answers(line: Line, tmp_path: Path) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    settings = settings_for(f"http://127.0.0.1:{port}", line, tmp_path)
    stop = asyncio.Event()
    publisher = PubSubPublisher(settings.pubsub_project, settings.pubsub_topic)
    running = asyncio.create_task(Service(settings, publisher).run(stop))
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with client.get(f"http://127.0.0.1:{settings.http_port}/healthz") as answer:
                    assert (answer.status, (await answer.json())["status"]) == (503, "starting")
                    break
            await asyncio.sleep(0.01)
        stop.set()
        assert await running is True


class TestProcess:
    """`python -m collector` as a process."""

    def environment(self, settings: Settings, address: str) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BINANCE_", "COLLECTOR_"))},
            "BINANCE_WS_URL": settings.ws_url,
            "BINANCE_REST_URL": settings.rest_url,
            "BINANCE_QUOTE_ASSETS": "*",
            "BINANCE_CHANNELS": "trade",
            "COLLECTOR_ID": "c1",
            "COLLECTOR_FRAME_AGE_MS": "20",
            "COLLECTOR_SPOOL_DIR": str(settings.spool_dir),
            "COLLECTOR_HTTP_PORT": str(settings.http_port),
            "COLLECTOR_DRAIN_SECONDS": "5",
            "COLLECTOR_HEAL_AFTER_MS": str(settings.heal_after_ms),
            "PUBSUB_PROJECT": settings.pubsub_project,
            "PUBSUB_TOPIC": settings.pubsub_topic,
            "PUBSUB_EMULATOR_HOST": address,
            "NO_PROXY": "127.0.0.1",
            **NO_WARNINGS,
        }

    @contextlib.contextmanager
    def running(self, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "collector"], cwd=ROOT, env=environment, stderr=output
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    async def ledger(
        self, settings: Settings, condition: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(OSError):
                    url = f"http://127.0.0.1:{settings.http_port}/ledger"
                    found = json.loads((await asyncio.to_thread(get, url))[1])
                    if condition(found):
                        return found  # type: ignore[no-any-return]
                await asyncio.sleep(0.05)

    def test_wrong_settings_are_all_told_at_once(self) -> None:
        environment = {
            **os.environ,
            **NO_WARNINGS,
            "BINANCE_SYMBOLS": "btc/usdt",
            "COLLECTOR_FRAME_AGE_MS": "0",
            "COLLECTOR_TRANSPORT": "carrier pigeon",
            "PUBSUB_PROJECT": "x",
        }
        done = subprocess.run(
            [sys.executable, "-m", "collector"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        names = [text.split(":")[0] for text in done.stderr.splitlines()]
        assert names == [
            *("BINANCE_SYMBOLS", "COLLECTOR_TRANSPORT", "COLLECTOR_FRAME_AGE_MS", "PUBSUB_PROJECT"),
        ]

    async def test_sigterm_drains(self, line: Line, tmp_path: Path, broker: Broker) -> None:
        async with Exchange(
            ExchangeSettings(port=0, symbols=4, rate=400, history_s=60)
        ) as exchange:
            settings = settings_for(exchange.url, line, tmp_path / "spool")
            log = tmp_path / "log"
            with self.running(self.environment(settings, broker.address), log) as process:
                await self.ledger(settings, lambda found: found["lines"]["published"] >= 200)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, SECONDS) == 0, log.read_text()
        entries = [json.loads(text) for text in log.read_text("utf-8").splitlines()]
        assert entries[-1]["message"] == "stopped; 0 frames wait in the spool"
        assert {"time", "severity", "logger", "message"} <= entries[0].keys()

    async def test_kill_9_loses_nothing_that_was_spooled(
        self, line: Line, tmp_path: Path, broker: Broker
    ) -> None:
        topic = line.topic
        async with Exchange(
            ExchangeSettings(port=0, symbols=4, rate=400, history_s=60)
        ) as exchange:
            settings = settings_for(exchange.url, line, tmp_path / "spool")
            environment = self.environment(settings, broker.address)
            log = tmp_path / "log"
            with self.running(environment, log) as process:
                await self.ledger(settings, lambda found: found["lines"]["published"] >= 200)
                line.publisher.delete_topic(topic=topic, **ONCE)  # from here on they pile up
                killed = await self.ledger(
                    settings, lambda f: f["frames"]["pending"] >= 10 and len(f["symbols"]) == 4
                )
                process.kill()
            line.create_topic(topic.split("/")[-1])
            again = line.subscribe("again", topic)
            before = by_symbol(killed["symbols"], "count")

            def has_gone_on(found: dict[str, Any]) -> bool:
                after = by_symbol(found["symbols"], "count")
                return all(after[each]["count"] > before[each]["count"] for each in before)

            with self.running(environment, log) as process:
                restarted = await self.ledger(settings, has_gone_on)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, SECONDS) == 0, log.read_text()
        published = killed["frames"]["published"]
        first_life = [f.header.sequence for f in await pulled(line, published)]
        line.subscription = again
        second_life = await pulled(line, killed["frames"]["pending"] + 3)
        epochs = {frame.header.epoch for frame in second_life}
        assert epochs == {killed["epoch"], restarted["epoch"]}
        left = [f.header.sequence for f in second_life if f.header.epoch == killed["epoch"]]
        spooled = max(left)
        assert spooled >= killed["frames"]["spooled"]
        assert set(first_life) | set(left) == set(range(1, spooled + 1))
        assert len(restarted["symbols"]) == len(before)

    async def test_after_kill_9_and_cuts_every_trade_is_there_once(
        self, line: Line, tmp_path: Path, broker: Broker
    ) -> None:
        async with (
            Exchange(ExchangeSettings(port=0, symbols=4, rate=400, history_s=60)) as exchange,
            aiohttp.ClientSession() as client,
        ):
            settings = settings_for(exchange.url, line, tmp_path / "spool")
            environment = self.environment(settings, broker.address)
            log = tmp_path / "log"

            async def sim(path: str) -> dict[str, Any]:
                method = client.get if path == "/sim/totals" else client.post
                async with method(exchange.url + path) as answer:
                    return await answer.json()  # type: ignore[no-any-return]

            def has_begun(found: dict[str, Any]) -> bool:
                """A symbol's record begins with its first durable trade: no kill comes before."""
                return found["lines"]["published"] >= 100 and len(found["symbols"]) == 4

            for _ in range(2):
                with self.running(environment, log) as process:
                    await self.ledger(settings, has_begun)
                    await sim("/sim/cut")
                    process.kill()
                await asyncio.sleep(0.5)
            with self.running(environment, log) as process:
                await self.ledger(settings, lambda found: found["lines"]["published"] > 0)
                await sim("/sim/cut")
                sent = by_symbol((await sim("/sim/totals"))["trades"], "last_id")

                def has_come_behind(found: dict[str, Any]) -> bool:
                    """What a cut has taken of a symbol shows with its next trade."""
                    last = by_symbol(found["symbols"], "last_id")
                    return all(last[each]["last_id"] > sent[each]["last_id"] + 9 for each in sent)

                await self.ledger(settings, has_come_behind)
                await sim("/sim/pause")
                await asyncio.sleep(QUIET_SECONDS)  # what was due is sent
                names = ("count", "sum_ids", "first_id", "last_id")
                expected = by_symbol((await sim("/sim/totals"))["trades"], *names)
                await self.ledger(
                    settings, lambda found: by_symbol(found["symbols"], *names) == expected
                )
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, SECONDS) == 0, log.read_text()
        frames: dict[str, Frame] = {}
        while {s: len(ids) for s, ids in ids_of(list(frames.values())).items()} != {
            symbol: each["count"] for symbol, each in expected.items()
        }:
            frames |= {frame.header.frame_id: frame for frame in await pulled(line, 1)}
        ids = ids_of(list(frames.values()))
        assert {symbol: sum(set(found)) for symbol, found in ids.items()} == {
            symbol: each["sum_ids"] for symbol, each in expected.items()
        }
        holes = holes_in(list(frames.values()))
        assert {each["cause"] for each in holes} >= {"restart"}
        assert {each["outcome"] for each in holes} == {"healed"}
