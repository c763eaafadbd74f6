"""data.binance.vision: daily zips, downloaded and verified against their CHECKSUM.

Source: binance-public-data's README. A day's files are published on the next day, and may be
replaced later without notice.
"""

from __future__ import annotations

import hashlib
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import httpx

TIMEOUT: Final = httpx.Timeout(30.0, read=60.0)
TRIES: Final = 3
_CHUNK: Final = 1 << 20
_CHECKSUM: Final = re.compile(r"([0-9a-f]{64}) [ *](\S+)\s*")


class VisionError(Exception):
    """The archive cannot serve a file; names it, what it answered and the remedy."""


class NotPublished(VisionError):
    """The archive has no such file."""


class ChecksumMismatch(VisionError):
    """A file is not the one that its CHECKSUM is of."""


@dataclass(frozen=True)
class DailyFile:
    """A daily file of the spot market.

    Attributes:
        kind: trades, aggTrades or klines.
        symbol: symbol as Binance spells it.
        day: UTC day.
        interval: of klines, as 1m; empty otherwise.
    """

    kind: str
    symbol: str
    day: date
    interval: str = ""

    @property
    def name(self) -> str:
        """The file's name, without `.zip`."""
        return f"{self.symbol}-{self.interval or self.kind}-{self.day.isoformat()}"

    @property
    def path(self) -> str:
        """Its path below the archive's address."""
        folder = f"{self.symbol}/{self.interval}" if self.interval else self.symbol
        return f"data/spot/daily/{self.kind}/{folder}/{self.name}.zip"


@dataclass
class Vision:
    """The archive; a file that lies where it was downloaded to is not asked for again.

    Attributes:
        url: base address.
        client: asks it.
        sleep: waits so many seconds.
    """

    url: str
    client: httpx.Client
    sleep: Callable[[float], None] = time.sleep
    _verified: dict[Path, str] = field(default_factory=dict, init=False)

    def download(self, file: DailyFile, folder: Path) -> tuple[Path, str]:
        """Download a file and return its path and SHA-256, which its CHECKSUM confirms.

        A file that was replaced between the two requests is asked for once more.

        Raises:
            NotPublished: there is none.
            ChecksumMismatch: its SHA-256 is another one, twice.
            VisionError: the archive does not answer properly.
        """
        url, path = f"{self.url}/{file.path}", folder / f"{file.name}.zip"
        if path in self._verified:
            return path, self._verified[path]
        expected = found = ""
        for _ in range(2):
            expected = self._checksum(f"{url}.CHECKSUM", f"{file.name}.zip")
            found = self._tried(url, lambda: self._save(url, path))
            if found == expected:
                self._verified[path] = found
                return path, found
        path.unlink()
        raise ChecksumMismatch(
            f"{url}: its SHA-256 is {found}, its CHECKSUM says {expected}; nothing of it was used."
            " Try again in an hour; if it stays, the file is broken at the source"
        )

    def _checksum(self, url: str, name: str) -> str:
        text = self._tried(url, lambda: self._text(url))
        match = _CHECKSUM.fullmatch(text)
        if match is None or match[2] != name:
            raise VisionError(f"{url}: expected '<SHA-256>  {name}', was {text[:200]!r}")
        return match[1]

    def _text(self, url: str) -> str:
        answer = self.client.get(url, timeout=TIMEOUT)
        _check(url, answer.status_code)
        return answer.text

    def _save(self, url: str, path: Path) -> str:
        digest = hashlib.sha256()
        with self.client.stream("GET", url, timeout=TIMEOUT) as answer, path.open("wb") as file:
            _check(url, answer.status_code)
            for chunk in answer.iter_bytes(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _tried(self, url: str, ask: Callable[[], str]) -> str:
        """Ask a few times; 5xx, 429, cut connections and timeouts may pass."""
        problem: Exception | None = None
        for number in range(TRIES):
            try:
                return ask()
            except (httpx.HTTPError, _MayPass) as error:
                problem = error
            if number < TRIES - 1:
                self.sleep(2.0**number)
        raise VisionError(f"{url}: {problem!r}; try again later") from problem


class _MayPass(Exception):
    """An answer that may be another one next time."""


def _check(url: str, status: int) -> None:
    if status == 404:
        raise NotPublished(f"{url}: is not there; a day's files are published on the next day")
    if status >= 500 or status == 429:
        raise _MayPass(f"HTTP {status}")
    if status != 200:
        raise VisionError(f"{url}: HTTP {status}; check vision_url of the Variable market_ops")


def csv_in(path: Path) -> tuple[zipfile.ZipFile, str]:
    """Return a file's zip, to be closed by the caller, and the name of the only CSV in it.

    Raises:
        VisionError: it is no zip, or holds something else.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise VisionError(f"{path.name}: {error}") from error
    names = archive.namelist()
    if names != [f"{path.stem}.csv"]:
        archive.close()
        raise VisionError(f"{path.name}: expected {path.stem}.csv in it, was {', '.join(names)}")
    return archive, names[0]
