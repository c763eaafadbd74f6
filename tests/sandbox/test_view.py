import io
from datetime import UTC, datetime

from rich.console import Console

from market_data.decode import to_microseconds
from sandbox.progress import Progress
from sandbox.state import READY, ServiceStatus, State
from sandbox.view import PLAIN_SECONDS, View, plain_line, stages

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROGRESS = Progress(
    sent=1200,
    received=1100,
    published=10,
    pending=2,
    objects=3,
    object_bytes=3 << 20,
    loaded=1000,
    newest=int(NOW.timestamp() * 1e6) - 2_000_000,
    candles=4,
    rejections={"price": 1},
    latest=(
        {
            "symbol": "BTCUSDT",
            "opened_us": str(to_microseconds(NOW)),
            "open": "61000.10000000",
            "high": "61000.2",
            "low": "61000",
            "close": "61000.1",
            "volume": "10",
            "trades": "7",
        },
    ),
)
STATE = State(
    run_id="r",
    pid=1,
    phase=READY,
    started_at="",
    peak_resident_bytes=900 << 20,
    services=(ServiceStatus("job", READY, 7, 1, None, 250 << 20, 300 << 20, "", "", ""),),
)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_rates_are_changes_a_second() -> None:
    before = Progress(sent=200, received=100)
    rates = {each.name: each.rate for each in stages(before, PROGRESS, 2.0, NOW)}
    assert rates["exchange sent"] == 500.0
    assert rates["received"] == 500.0
    assert rates["candles"] == 2.0


def test_a_rate_is_never_negative_and_unknown_for_the_real_exchange() -> None:
    lines = stages(PROGRESS, Progress(), 1.0, NOW)
    assert lines[0].amount == "the real one"
    assert lines[0].rate is None
    assert lines[1].rate == 0.0


def test_a_plain_line() -> None:
    assert plain_line(PROGRESS, NOW, "3 s to go") == (
        "sent 1,200, received 1,100, published 10 frames, archived 3 objects, loaded 1,000, "
        "candles 4, holes 0, rejected 1, lag 2.0 s, 3 s to go"
    )


def test_without_a_terminal_a_line_comes_now_and_then() -> None:
    console, clock = Console(file=io.StringIO(), width=80), Clock()
    with View(console, now=lambda: NOW, clock=clock) as view:
        for seconds in (0.0, 1.0, PLAIN_SECONDS, PLAIN_SECONDS + 1):
            clock.seconds = seconds
            view.update(PROGRESS, STATE, "note")
    assert console.file.getvalue().count("\n") == 2  # type: ignore[attr-defined]


def test_a_terminal_gets_the_whole_picture() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, color_system=None)
    clock = Clock()
    with View(console, now=lambda: NOW, clock=clock) as view:
        view.update(Progress(), STATE, "note")
        clock.seconds = 2.0
        view.update(PROGRESS, STATE, "12 s to go")
    text = file.getvalue()
    for expected in (
        "1,200 trades",
        "550.0",
        "3.0 MiB",
        "newest 2.0 s old",
        "open holes: 0   rejections: price 1",
        "BTCUSDT",
        "61000.1",
        "00:00",
        "job 250 (restarted 1 times); peak of all 900",
        "12 s to go",
    ):
        assert expected in text, expected
