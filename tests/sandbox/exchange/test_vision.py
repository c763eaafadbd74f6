import hashlib
from collections.abc import Iterator
from typing import IO, Any

import aiohttp
import pytest

from sandbox.exchange import vision
from sandbox.exchange.vision_files import DailyFile

from .conftest import running

pytestmark = pytest.mark.integration

FOLDER = "/data/spot/daily/trades/BTCUSDT"
NAME = "BTCUSDT-trades-2026-03-{:02d}.zip"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files are of a few bytes; return the names of those that were made."""
    names: list[str] = []

    def write(target: IO[bytes], file: DailyFile, *_: Any) -> Iterator[None]:
        names.append(file.name)
        yield
        target.write(file.name.encode() * 100_000)

    monkeypatch.setattr(vision, "write_zip", write)
    return names


async def get(session: aiohttp.ClientSession, path: str) -> tuple[int, bytes]:
    async with session.get(path) as answer:
        return answer.status, await answer.read()


async def test_a_file_and_its_checksum_are_of_one_making(made: list[str]) -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as session:
        name = NAME.format(1)
        status, checksum = await get(session, f"{FOLDER}/{name}.CHECKSUM")
        assert status == 200
        status, content = await get(session, f"{FOLDER}/{name}")
        assert status == 200
        assert checksum.decode() == f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        assert content == b"BTCUSDT-trades-2026-03-01" * 100_000
        assert made == ["BTCUSDT-trades-2026-03-01"]


async def test_the_newest_few_are_kept(made: list[str]) -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as session:
        for day in (*range(1, 9), 8, 1):
            assert (await get(session, f"{FOLDER}/{NAME.format(day)}"))[0] == 200
    days = [int(name[-2:]) for name in made]
    assert days == [*range(1, 9), 1]


@pytest.mark.parametrize(
    "path",
    [
        f"{FOLDER}/BTCUSDT-trades-2026-09-21.zip",  # the day goes on
        f"{FOLDER}/BTCUSDT-trades-2026-09-21.zip.CHECKSUM",
        f"{FOLDER}/BTCUSDT-trades-2017-07-14.zip",  # before the market
        f"{FOLDER}/ETHUSDT-trades-2026-03-01.zip",  # in another symbol's folder
        "/data/spot/daily/trades/NOPEUSDT/NOPEUSDT-trades-2026-03-01.zip",
    ],
)
async def test_what_is_not_there(path: str, made: list[str]) -> None:
    start_us = 1_790_000_040_000_000  # 2026-09-21
    async with (
        running(start_us=start_us) as exchange,
        aiohttp.ClientSession(exchange.url) as session,
    ):
        status, body = await get(session, path)
    assert (status, b"<Code>NoSuchKey</Code>" in body, made) == (404, True, [])


async def test_the_firehose_has_no_days(made: list[str]) -> None:
    async with (
        running(firehose=10) as exchange,
        aiohttp.ClientSession(exchange.url) as session,
    ):
        assert (await get(session, f"{FOLDER}/{NAME.format(1)}"))[0] == 404
