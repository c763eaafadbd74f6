"""The page's rows, its words and its cache."""

from datetime import timedelta
from html.parser import HTMLParser

from plugins.market_ops.stream.incidents import Incident, State, advance
from plugins.market_ops.stream.judge import judge
from plugins.market_ops.stream.observations import JobSeen, JobState
from plugins.market_ops.stream.page import (
    CACHE_SECONDS,
    HOURS,
    SYMBOLS,
    Cached,
    Evidence,
    grid_of,
    hours_of,
    milliseconds,
    render,
)
from plugins.market_ops.stream.words import summary
from tests.plugins.stream.samples import NOW, observations

HOSTILE = '"><script>alert(1)</script><img src=x onerror=y>'
DAY = {
    "symbol": "BTCUSDT",
    "last_id": 9,
    "present": 9,
    "missing": 0,
    "healed": 0,
    "verdict": "PROVISIONAL",
}
SEEN = observations()
WELL = State(looked_at=NOW, summary={str(k): v for k, v in summary(SEEN).items()})


class Tags(HTMLParser):
    """The names of a page's tags, and whether they close in order."""

    void = ("meta", "br", "link")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_grid_has_an_hour_a_cell_and_the_worst_first() -> None:
    hour = hours_of(NOW)[-1]
    evidence = Evidence(
        days=[
            DAY | {"symbol": "FEW"},
            DAY | {"symbol": "MANY", "present": 99},
            DAY | {"symbol": "LOST", "missing": 3, "verdict": "INCOMPLETE"},
        ],
        cells=[
            {"symbol": "MANY", "opened_at": hour, "trades": 1_000, "missing": 0},
            {"symbol": "LOST", "opened_at": hour, "trades": 5, "missing": 3},
            {"symbol": "FEW", "opened_at": hour, "trades": 0, "missing": 0},
        ],
    )
    rows = grid_of(evidence, NOW)
    assert [row.symbol for row in rows] == ["LOST", "MANY", "FEW"]
    assert [row.cells[-1].kind for row in rows] == ["hole", "whole", "quiet"]
    assert [len(row.cells) for row in rows] == [HOURS] * 3
    assert rows[1].cells[-1].title == "12:00Z: 1,000 trades, none missing"
    assert {cell.kind for row in rows for cell in row.cells[:-1]} == {"none"}


def test_what_comes_from_outside_is_escaped() -> None:
    hole = {
        "symbol": HOSTILE,
        "first_missing_id": 1,
        "last_missing_id": 2,
        "missing": 2,
        "previous_traded_at": NOW,
        "next_traded_at": NOW,
        "is_unpublished": False,
        "is_absent": False,
    }
    incidents, _ = advance(
        (), judge(observations(job=JobSeen(state=JobState.DOWN, detail=HOSTILE))), NOW
    )
    state = State(looked_at=NOW, summary={"exchange": HOSTILE}, incidents=incidents)
    evidence = Evidence(days=[DAY | {"symbol": HOSTILE}], holes=[hole])
    for html in (render(state, evidence, NOW), render(state, Evidence(error=HOSTILE), NOW)):
        assert HOSTILE not in html
        assert not {"script", "img"} & set(Tags(html).names)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = render(WELL, Evidence(days=[DAY]), NOW)
    assert not {"script", "link", "img", "form", "a"} & set(Tags(html).names)
    assert "://" not in html.replace("http://collector", "").replace("http://job", "")


def test_a_page_says_what_is_at_fault_and_what_is_over() -> None:
    down = judge(observations(job=JobSeen(state=JobState.DOWN, detail="gone")))
    opened, _ = advance((), down, NOW)
    html = render(State(looked_at=NOW, summary=WELL.summary, incidents=opened), Evidence(), NOW)
    assert "At fault: job" in html
    assert '<li class="fault"><b>job</b>the job is not running: gone</li>' in html
    assert "Open incidents" in html
    cleared: tuple[Incident, ...]
    cleared, _ = advance(opened, judge(SEEN), NOW + timedelta(minutes=2))
    html = render(State(looked_at=NOW, summary=WELL.summary, incidents=cleared), Evidence(), NOW)
    assert "The stream is well" in html
    assert "<h2>Over</h2>" in html


def test_a_page_says_that_nobody_looks() -> None:
    assert "Not looked at yet" in render(State(), Evidence(), NOW)
    assert "is watch_stream paused" not in render(WELL, Evidence(), NOW + timedelta(minutes=10))
    assert "is watch_stream paused" in render(WELL, Evidence(), NOW + timedelta(seconds=601))


def test_a_long_list_is_cut_and_says_so() -> None:
    days = [DAY | {"symbol": f"S{number:04}"} for number in range(SYMBOLS + 1)]
    assert f"{SYMBOLS} of {SYMBOLS + 1} symbols" in render(WELL, Evidence(days=days), NOW)
    assert "symbols; all are" not in render(WELL, Evidence(days=days[1:]), NOW)


def test_times_are_written_for_people() -> None:
    assert [milliseconds(value) for value in (None, 0, 999, 1_234_567, 60_000_000)] == [
        "–",
        "0 ms",
        "0 ms",
        "1,234 ms",
        "60 s",
    ]


def test_the_warehouse_is_asked_once_for_everybody() -> None:
    times, answers = [0.0], [Evidence(days=[DAY]), Evidence(days=[DAY, DAY])]
    cached = Cached(lambda: answers.pop(0), lambda: times[0])
    assert len(cached.get().days) == len(cached.get().days) == 1
    times[0] = CACHE_SECONDS
    assert len(cached.get().days) == 2
    # what fails is kept as long
    times[0] *= 2
    assert cached.get().error == "IndexError: pop from empty list"
    assert cached.get().error == "IndexError: pop from empty list"
