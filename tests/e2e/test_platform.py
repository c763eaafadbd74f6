"""The whole platform, as a person starts it: one command in, one certificate out."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.process import members
from sandbox.settings import ROOT, Settings

EMULATORS = Path(os.environ.get("SANDBOX_EMULATORS", Settings().emulators))

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(420),
    pytest.mark.skipif(
        not (EMULATORS / "bin" / "python").exists(),
        reason=f"no emulators in {EMULATORS}; `make setup` installs them",
    ),
]


def certify(home: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run `demo` or `replay` to its end and return exit code, certificate and output."""
    output = home / "certificate.json"
    # A home for the run beside it: `--fresh` clears it.
    place = ["--home", str(home / "sandbox"), "--ports", "auto", "--no-airflow"]
    run = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments, *place, "--exit", "--json", str(output)],
        cwd=ROOT,
        # As in a terminal: the live view is part of what is tested.
        env={**os.environ, "SANDBOX_EMULATORS": str(EMULATORS), "FORCE_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert output.stat().st_size, run.stdout + run.stderr
    state = json.loads((home / "sandbox" / "state.json").read_text("utf-8"))
    assert members(state["run_id"]) == [], "a process outlived the run"
    return run.returncode, json.loads(output.read_text("utf-8")), run.stdout


def counts(certificate: dict[str, Any], symbol: str) -> list[int]:
    """Return the number of a symbol's trades at every stage."""
    (row,) = [
        row
        for row in certificate["symbols"]
        if (row["channel"], row["symbol"]) == ("trade", symbol)
    ]
    stages = ("exchange", "received", "published", "archived", "loaded", "deduplicated")
    return [row[stage]["count"] for stage in stages]


def test_simulated_market_to_equal_candles(tmp_path: Path) -> None:
    """A day in 45 s, then the present: candles of all intervals, every finished day proven."""
    code, certificate, output = certify(
        tmp_path,
        "demo",
        *("--minutes", "2", "--run-up", "45", "--rate", "60", "--market-size", "12"),
        *("--pubsub", "embedded", "--transport", "picows"),
    )
    assert certificate["problems"] == [], output
    assert (code, certificate["verdict"]) == (0, "COMPLETE")
    assert certificate["holes"] == []
    assert certificate["rejections"] == []
    intervals = {row["kline_interval"]: row for row in certificate["candles"]["intervals"]}
    assert list(intervals) == ["1m", "5m", "15m", "1h", "4h", "1d"]
    symbols = sum(row["channel"] == "trade" for row in certificate["symbols"])
    for row in intervals.values():
        assert row["compared"] == row["equal"] >= symbols
    verdicts = {(row["traded_on"], row["verdict"]): row["symbols"] for row in certificate["days"]}
    evening, day, *_ = sorted({day for day, _ in verdicts})  # before, and all of it
    assert verdicts[evening, "FINAL"] == verdicts[day, "FINAL"] == symbols
    trades = sum(row["exchange"]["count"] for row in certificate["symbols"])
    assert trades > 1000
    assert all(stage["p50_ms"] > 0 for stage in certificate["latency"].values())


def test_recorded_trades_give_the_official_candle(tmp_path: Path, recorded: Path) -> None:
    ws = recorded / "ws"
    code, certificate, output = certify(
        tmp_path,
        "replay",
        *(str(ws / f"{name}.spot.gz") for name in ("btcusdt_20240808", "ethusdt_20240808")),
        str(ws / "ethusdt_20240809.spot.gz"),
        *("--klines", str(recorded / "klines" / "BTCUSDT-5m-2024-08-08.csv")),
    )
    assert certificate["problems"] == [], output
    assert (code, certificate["verdict"]) == (0, "COMPLETE")
    assert counts(certificate, "BTCUSDT") == [9757] * 6
    assert counts(certificate, "ETHUSDT") == [14515] * 6
    assert certificate["holes"] == []
    (reference,) = certificate["candles"]["references"]
    assert (reference["compared"], reference["equal"]) == (1, 1)


def test_other_recordings_replay_without_an_unexplained_rejection(
    tmp_path: Path, recorded: Path
) -> None:
    code, certificate, output = certify(
        tmp_path,
        "replay",
        str(recorded / "ws" / "BINANCE.ws.1.0"),
        str(recorded / "ws" / "BINANCE_US.ws.1.0"),
        str(recorded / "odd" / "odd_messages.jsonl"),
        *("--pubsub", "embedded"),
    )
    assert certificate["problems"] == [], output
    assert (code, certificate["verdict"]) == (0, "COMPLETE")
    assert certificate["rejections"] == []
    aggregates = [row for row in certificate["symbols"] if row["channel"] == "aggTrade"]
    assert sum(row["deduplicated"]["count"] for row in aggregates) == 2 + 11 + 2
