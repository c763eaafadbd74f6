"""Downloads are what their CHECKSUM says, or are not used."""

from datetime import date
from pathlib import Path

import httpx
import pytest

from plugins.market_ops.backfill.vision import (
    ChecksumMismatch,
    DailyFile,
    NotPublished,
    Vision,
    VisionError,
)
from tests.plugins.backfill.samples import DAY, checksum, files, vision, zipped

FILE = DailyFile("trades", "BTCUSDT", DAY)
NAME = "BTCUSDT-trades-2026-03-01"


def test_paths_are_the_archives() -> None:
    assert FILE.path == "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2026-03-01.zip"
    klines = DailyFile("klines", "BTCUSDT", date(2020, 1, 1), "1m")
    assert klines.path == "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip"


def test_a_file_that_is_what_it_should_be(tmp_path: Path) -> None:
    bodies = files({NAME: "1"})
    path, digest = vision(bodies).download(FILE, tmp_path)
    assert path.read_bytes() == bodies[f"{NAME}.zip"]
    assert bodies[f"{NAME}.zip.CHECKSUM"].startswith(digest.encode())


def test_a_recorded_checksum(recorded: Path, tmp_path: Path) -> None:
    names = [f"BTCUSDT-1m-2020-01-01.zip{end}" for end in ("", ".CHECKSUM")]
    bodies = {name: (recorded / "archive" / name).read_bytes() for name in names}
    file = DailyFile("klines", "BTCUSDT", date(2020, 1, 1), "1m")
    assert vision(bodies).download(file, tmp_path)[0].exists()


def test_another_file_than_its_checksum_is_of(tmp_path: Path) -> None:
    bodies = files({NAME: "1"}) | {f"{NAME}.zip": zipped(NAME, "2")}
    with pytest.raises(ChecksumMismatch, match=r"trades-2026-03-01\.zip: its SHA-256 is"):
        vision(bodies).download(FILE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def answering(*answers: httpx.Response | Exception) -> tuple[Vision, list[float]]:
    left, pauses = list(answers), []

    def answer(_: httpx.Request) -> httpx.Response:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Vision("http://x", client, pauses.append), pauses


def body(data: bytes) -> httpx.Response:
    return httpx.Response(200, content=data)


def test_a_file_that_is_replaced_meanwhile_is_asked_for_again(tmp_path: Path) -> None:
    old, new = zipped(NAME, "old"), zipped(NAME, "new")
    it, _ = answering(body(checksum(NAME, old)), body(new), body(checksum(NAME, new)), body(new))
    assert it.download(FILE, tmp_path)[0].read_bytes() == new


def test_what_may_pass_is_asked_again(tmp_path: Path) -> None:
    data = zipped(NAME, "1")
    cut = httpx.ReadError("cut")
    it, pauses = answering(httpx.Response(503), body(checksum(NAME, data)), cut, body(data))
    assert it.download(FILE, tmp_path)[0].exists()
    assert pauses == [1.0, 1.0]


def test_what_does_not_pass_is_named(tmp_path: Path) -> None:
    it, pauses = answering(*[httpx.Response(500)] * 3)
    with pytest.raises(VisionError, match=r"HTTP 500.*try again later"):
        it.download(FILE, tmp_path)
    assert pauses == [1.0, 2.0]
    with pytest.raises(NotPublished, match="published on the next day"):
        answering(httpx.Response(404))[0].download(FILE, tmp_path)
    with pytest.raises(VisionError, match="HTTP 403; check vision_url"):
        answering(httpx.Response(403))[0].download(FILE, tmp_path)


@pytest.mark.parametrize("text", ["", "<html>", f"{'a' * 64}  OTHER.zip", "xyz  " + NAME])
def test_odd_checksums_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(VisionError, match="expected '<SHA-256>"):
        answering(body(text.encode()))[0].download(FILE, tmp_path)
