"""An archive as data.binance.vision is one, made of CSV texts."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

import httpx

from plugins.market_ops.backfill.vision import Vision

DAY = date(2026, 3, 1)
START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE = 60_000_000

Trade = tuple[int, str, str, int, bool]
"""Id, price, quantity, µs after midnight, whether the buyer was the maker."""


def trade_rows(trades: Sequence[Trade], unit: int = 1) -> str:
    """Return the CSV of trades; `unit` is 1 for µs and 1000 for ms."""
    return "".join(
        f"{number},{price},{quantity},{quote(price, quantity)},{(START + at) // unit},"
        f"{is_maker},True\n"
        for number, price, quantity, at, is_maker in trades
    )


def agg_trade_rows(trades: Sequence[Trade]) -> str:
    """Return the CSV of aggregates, each of one trade."""
    return "".join(
        f"{1000 + number},{price},{quantity},{number},{number},{START + at},{is_maker},True\n"
        for number, price, quantity, at, is_maker in trades
    )


def quote(price: str, quantity: str) -> Decimal:
    return (Decimal(price) * Decimal(quantity)).quantize(Decimal("1e-8"), ROUND_DOWN)


def kline_rows(trades: Sequence[Trade], minutes: int = 1440) -> str:
    """Return the CSV of 1m klines, computed one trade after another."""
    lines, close = [], "1.0"
    for minute in range(minutes):
        inside = [each for each in trades if each[3] // MINUTE == minute]
        prices = [each[1] for each in inside] or [close]
        close = prices[-1]
        volume = sum((Decimal(each[2]) for each in inside), Decimal("0"))
        total = sum((quote(each[1], each[2]) for each in inside), Decimal("0"))
        taker = [each for each in inside if not each[4]]
        lines.append(
            f"{START + minute * MINUTE},{prices[0]},{max(prices, key=Decimal)},"
            f"{min(prices, key=Decimal)},{close},{volume},{START + (minute + 1) * MINUTE - 1},"
            f"{total},{len(inside)},{sum((Decimal(each[2]) for each in taker), Decimal('0'))},"
            f"{sum((quote(each[1], each[2]) for each in taker), Decimal('0'))},0\n"
        )
    return "".join(lines)


def zipped(name: str, text: str) -> bytes:
    """Return a zip with one CSV."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", text)
    return packed.getvalue()


def checksum(name: str, data: bytes) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {name}.zip".encode()


def save(folder: Path, name: str, text: str) -> Path:
    """Write a zip into a folder."""
    path = folder / f"{name}.zip"
    path.write_bytes(zipped(name, text))
    return path


def files(texts: dict[str, str]) -> dict[str, bytes]:
    """Return zips and their CHECKSUMs by file name."""
    found: dict[str, bytes] = {}
    for name, text in texts.items():
        data = zipped(name, text)
        found |= {f"{name}.zip": data, f"{name}.zip.CHECKSUM": checksum(name, data)}
    return found


def vision(bodies: dict[str, bytes]) -> Vision:
    """Return an archive that has these files."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = bodies.get(request.url.path.rsplit("/", 1)[1])
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Vision("http://vision", client, lambda _: None)
