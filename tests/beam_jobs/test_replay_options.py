from datetime import UTC, datetime

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options import OptionsError
from beam_jobs.replay_options import Replay, check_replay

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
GOOD = (
    "--project=test-project",
    "--archive=gs://archive",
    "--first=2026-02-02T02",
    "--last=2026-02-02T03",
)


def checked(*arguments: str) -> Replay:
    return check_replay(PipelineOptions([*GOOD, *arguments]), NOW)


def mistakes(*arguments: str) -> list[str]:
    with pytest.raises(OptionsError) as caught:
        check_replay(PipelineOptions(list(arguments)), NOW)
    return str(caught.value).splitlines()


def test_defaults() -> None:
    replay = checked()
    assert (replay.bucket, replay.market, replay.dataset) == ("archive", "spot", None)
    assert replay.first == datetime(2026, 2, 2, 2, tzinfo=UTC)
    assert replay.last == datetime(2026, 2, 2, 3, tzinfo=UTC)
    assert replay.channels == ("trade", "aggTrade", "kline", "bookTicker", "exchangeInfo", "hole")
    assert replay.symbols == frozenset()
    assert replay.proof == "replays/2026-02-02T02--2026-02-02T03--20260301T123000Z.json"
    assert replay.asked["tables"] == "in place"


def test_what_is_given() -> None:
    replay = checked(
        "--channels=trade,depth", "--symbols=BTCUSDT, 币安USDT", "--tables=again", "--proof=p.json"
    )
    assert replay.channels == ("trade", "depth")
    assert replay.symbols == {"BTCUSDT", "币安USDT"}
    assert (replay.dataset, replay.proof) == ("again", "p.json")
    assert replay.asked["only_symbols"] == ["BTCUSDT", "币安USDT"]


def test_all_mistakes_at_once() -> None:
    assert [text.split(":")[0] for text in mistakes("--channels=trades", "--tables=raw")] == [
        *("--archive", "--project", "--first", "--last", "--channels", "--tables"),
    ]


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        (
            "--first=2026-02-02",
            "--first: expected an hour in UTC as 2026-03-01T17, was '2026-02-02'",
        ),
        ("--last=2026-02-02T01", "--last: expected --first (2026-02-02T02) or up to 744 hours"),
        ("--last=2026-03-05T02", "--last: expected --first (2026-02-02T02) or up to 744 hours"),
        ("--channels=,", "--channels: expected at least one channel, was nothing"),
        ("--channels=trades", "--channels: expected some of trade, aggTrade,"),
        ("--tables=a-b", "--tables: expected a dataset as replayed, was 'a-b'"),
        ("--tables=ops", "--tables: ops holds tables of the platform"),
    ],
)
def test_each_mistake_is_named(argument: str, complaint: str) -> None:
    (found,) = mistakes(*GOOD, argument)
    assert found.startswith(complaint)
