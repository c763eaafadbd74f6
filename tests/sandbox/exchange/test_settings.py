from pathlib import Path

import pytest

from sandbox.exchange.settings import parse_settings


def test_defaults() -> None:
    settings = parse_settings([])
    assert (settings.host, settings.port, settings.mode) == ("127.0.0.1", 9443, "simulated")
    assert (settings.seed, settings.symbols, settings.rate, settings.speed) == (7, 50, 200, 1.0)
    assert settings.history_us == 3600 * 1_000_000
    assert settings.shutdown_notice_s is None


def test_everything_can_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    settings = parse_settings(
        ["--mode", "recording", "--recording", str(file), str(file), "--limits", "off",
         "--limit", "ping_interval_s=1", "--start", "2026-01-31T12:00:00Z", "--shutdown-notice"]
    )  # fmt: skip
    assert settings.recordings == (file, file)
    assert settings.limits.lifetime_s is None
    assert settings.limits.ping_interval_s == 1
    assert settings.start_us == 1_769_860_800_000_000
    assert settings.shutdown_notice_s == 2.0


def test_a_faster_market_remembers_less() -> None:
    assert parse_settings(["--rate", "20000"]).history_us == 36 * 1_000_000
    assert parse_settings(["--rate", "20000", "--history", "5"]).history_us == 5_000_000


def test_the_firehose_has_200_symbols() -> None:
    assert parse_settings(["--firehose", "10"]).symbols == 200


def test_all_mistakes_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_settings(
            ["--rate", "0", "--symbols", "0", "--limit", "x=1", "--start", "soon", "--port", "-1",
             "--recording", "/nowhere", "--firehose", "-1"]
        )  # fmt: skip
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    for part in ("--rate", "--symbols", "--limit x=1", "--start", "--port", "/nowhere", "--fire"):
        assert part in message


def test_modes_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--mode", "recording", "--firehose", "5"])
    message = capsys.readouterr().err
    assert "needs at least one --recording FILE" in message
    assert "does not go with recordings" in message
    with pytest.raises(SystemExit):
        parse_settings(["--start", "2001-01-01"])
    assert "the market opened in 2017-07" in capsys.readouterr().err
