"""The decision table over every combination of signals, and how observations become signals."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_type_hints

import pytest

from plugins.market_ops.stream.decisions import (
    DECISIONS,
    Broker,
    Cause,
    Collectors,
    Exchange,
    Flow,
    Ledger,
    Signals,
    Stage,
    Warehouse,
    Witness,
    decide,
)
from plugins.market_ops.stream.judge import judge
from plugins.market_ops.stream.observations import (
    BrokerSeen,
    ExchangeSeen,
    HoleSeen,
    JobSeen,
    JobState,
)
from plugins.market_ops.stream.signals import (
    ASKED_TRADES,
    busiest,
    dataflow_state,
    has_traded_on,
    in_flight,
    lag_seconds,
    signals_of,
    suspects,
    to_ask,
)
from plugins.market_ops.stream.words import REMEDIES, sentence_of, summary
from tests.plugins.stream.samples import (
    NOW,
    collector,
    life,
    observations,
    symbol,
    warehouse,
)

TYPES = get_type_hints(Signals)
# The two ledgers are looked at by one rule each: opening both at once shows as much.
EVERY = [
    Signals(**dict(zip(TYPES, (*values, ledger, ledger), strict=True)))
    for values in product(*list(TYPES.values())[:-2])
    for ledger in Ledger
]
INFERENCES = {
    Cause.JOB_BEHIND,
    Cause.EXCHANGE_SILENT,
    Cause.COLLECTOR_DEAF,
    Cause.SYMBOLS_STALE,
    Cause.FRAMES_MISSING,
    Cause.IDS_MISSING,
}
OF_FLOW = {Cause.JOB_BEHIND, Cause.EXCHANGE_SILENT, Cause.COLLECTOR_DEAF, Cause.SYMBOLS_STALE}
LIVE = {JobState.RUNNING, JobState.UNWATCHED}


def expected_facts(signals: Signals) -> set[Cause]:
    """The facts, written down a second time and in another way."""
    causes = set()
    if signals.warehouse == "away":
        causes.add(Cause.WAREHOUSE_AWAY)
    if signals.collector == "away":
        causes.add(Cause.COLLECTOR_AWAY)
    if signals.collector == "failing":
        causes.add(Cause.COLLECTOR_FAILING)
    if signals.collector == "disconnected":
        is_away = signals.exchange == "away"
        causes.add(Cause.EXCHANGE_AWAY if is_away else Cause.COLLECTOR_DISCONNECTED)
    if signals.broker == "away":
        causes.add(Cause.BROKER_AWAY)
    if signals.broker == "behind":
        causes.add(Cause.BROKER_BEHIND)
    if signals.job == "down":
        causes.add(Cause.JOB_DOWN)
    return causes


def expected_inferences(signals: Signals) -> tuple[set[Cause], set[Cause]]:
    """The inferences at fault and those undecided, a second time and in another way."""
    warehouse_is_ok = signals.warehouse is Warehouse.OK
    loads = warehouse_is_ok and signals.job in LIVE
    is_clear = (
        loads
        and signals.broker is Broker.OK
        and signals.collector in (Collectors.OK, Collectors.UNWATCHED)
    )
    verdicts: dict[Cause, bool | None] = {
        Cause.IDS_MISSING: signals.ids is Ledger.OPEN if warehouse_is_ok else None,
        Cause.FRAMES_MISSING: signals.frames is Ledger.OPEN
        if loads and signals.flow in (Flow.MOVING, Flow.SILENT)
        else None,
        Cause.JOB_BEHIND: signals.flow is Flow.STUCK
        if loads and signals.broker is Broker.OK
        else None,
        Cause.EXCHANGE_SILENT: None,
        Cause.COLLECTOR_DEAF: None,
        Cause.SYMBOLS_STALE: None,
    }
    if is_clear:
        is_ahead = signals.witness is Witness.AHEAD
        is_silent = signals.flow is Flow.SILENT
        verdicts[Cause.EXCHANGE_SILENT] = is_silent and not is_ahead
        verdicts[Cause.COLLECTOR_DEAF] = is_silent and is_ahead
        if signals.flow is Flow.MOVING and signals.witness is not Witness.UNKNOWN:
            verdicts[Cause.SYMBOLS_STALE] = is_ahead
    return (
        {cause for cause, verdict in verdicts.items() if verdict},
        {cause for cause, verdict in verdicts.items() if verdict is None},
    )


def test_every_combination_has_the_expected_causes() -> None:
    assert len(EVERY) == 6 * 2 * 3 * 5 * 2 * 4 * 3 * 2
    for signals in EVERY:
        causes, undecided = decide(signals)
        inferences, expected_undecided = expected_inferences(signals)
        assert causes == expected_facts(signals) | inferences, signals
        assert undecided == expected_undecided, signals
        # One silence is blamed on one stage; frames that stop are somebody's fault, unless
        # somebody is starting or was paused on purpose.
        assert len(causes & OF_FLOW) <= 1, signals
        if signals.flow in (Flow.STUCK, Flow.SILENT) and not is_excused(signals):
            assert causes - {Cause.IDS_MISSING, Cause.FRAMES_MISSING}, signals


def is_excused(signals: Signals) -> bool:
    """Tell whether a stage is on its way to work, or was stopped by a person."""
    return (
        signals.job in (JobState.STARTING, JobState.PAUSED)
        or signals.collector is Collectors.STARTING
    )


def test_the_table_has_each_cause_once_with_a_remedy() -> None:
    assert [rule.cause for rule in DECISIONS if rule.cause in INFERENCES] == [
        rule.cause for rule in DECISIONS if rule.sight
    ]
    assert sorted(rule.cause for rule in DECISIONS) == sorted(Cause) == sorted(REMEDIES)
    assert {rule.stage for rule in DECISIONS} == set(Stage)


def test_all_well() -> None:
    found = judge(observations())
    assert (found.faults, found.undecided, found.starts_job) == ((), frozenset(), False)


HOLE = HoleSeen(
    symbol="ETHUSDT", first_id=5, last_id=7, missing=3, before=NOW, after=NOW + timedelta(hours=1)
)
LATE = NOW - timedelta(minutes=10)
CASES: list[tuple[Cause, dict[str, Any], str]] = [
    (
        Cause.COLLECTOR_AWAY,
        {"collectors": (collector(error="refused"),)},
        "http://collector does not answer: refused",
    ),
    (
        Cause.COLLECTOR_AWAY,
        {"collectors": (collector(), collector(url="http://b", error="refused"))},
        "http://b does not answer: refused",
    ),
    (
        Cause.COLLECTOR_FAILING,
        {"collectors": (collector(status="failing", open_connections=1),)},
        "http://collector is failing: 1 of 3 connections open, 2 frames waiting",
    ),
    (
        Cause.COLLECTOR_DISCONNECTED,
        {"collectors": (collector(status="failing", open_connections=0, last_end="HTTP 418"),)},
        "http://collector is failing: 0 of 3 connections open, 2 frames waiting,"
        " the last ended with: HTTP 418",
    ),
    (
        Cause.COLLECTOR_DISCONNECTED,
        {"collectors": (collector(status="starting"),)},
        "http://collector is starting: 3 of 3 connections open, 2 frames waiting",
    ),
    (
        Cause.EXCHANGE_AWAY,
        {
            "collectors": (collector(status="failing", open_connections=0),),
            "exchange": ExchangeSeen(error="timed out"),
        },
        "http://collector is failing: 0 of 3 connections open, 2 frames waiting;"
        " REST is away too: timed out",
    ),
    (
        Cause.BROKER_AWAY,
        {"broker": BrokerSeen(error="NotFound: no subscription")},
        "the subscription can't be asked: NotFound: no subscription",
    ),
    (
        Cause.BROKER_BEHIND,
        {"collectors": (collector(pending_frames=1_000, spooled_frames=1_995),)},
        "1,000 frames waiting for Pub/Sub's acknowledgement",
    ),
    (
        Cause.BROKER_BEHIND,
        {"collectors": (collector(is_dropping=True),)},
        "2 frames waiting for Pub/Sub's acknowledgement",
    ),
    (
        Cause.JOB_DOWN,
        {"job": JobSeen(state=JobState.DOWN, detail="http://job does not answer")},
        "the job is not running: http://job does not answer",
    ),
    (
        Cause.JOB_BEHIND,
        {"warehouse": warehouse(lives=(life(last_sequence=900, closed_at=LATE),))},
        "the job runs and is 600 s behind; 98 frames waiting",
    ),
    (
        Cause.JOB_BEHIND,
        {"broker": BrokerSeen(backlog=5, oldest_seconds=120)},
        "the job runs and is 120 s behind; 3 frames waiting",
    ),
    (
        Cause.JOB_BEHIND,
        {"warehouse": warehouse(lives=())},
        "the job runs and is 86,400 s behind; 998 frames waiting",
    ),
    (
        Cause.EXCHANGE_SILENT,
        {"warehouse": warehouse(lives=(life(last_sequence=998, closed_at=LATE),))},
        "all is well on our side and nothing comes: the newest frame is of 11:50:00Z",
    ),
    (
        Cause.COLLECTOR_DEAF,
        {
            "warehouse": warehouse(lives=(life(last_sequence=998, closed_at=LATE),)),
            "exchange": ExchangeSeen(asked=("BTCUSDT",), ahead=("BTCUSDT",)),
        },
        "connections are open and nothing comes: the newest frame is of 11:50:00Z;"
        " BTCUSDT trade on",
    ),
    (
        Cause.SYMBOLS_STALE,
        {"exchange": ExchangeSeen(ahead=tuple("ABCDEFG"))},
        "the exchange has trades that never came: A, B, C, D, E and 2 more",
    ),
    (
        Cause.FRAMES_MISSING,
        {"warehouse": warehouse(lives=(life(missing=4), life(collector="c2", epoch=7)))},
        f"frames were published, later ones are loaded, they are not: 4 of c1/{life().epoch}",
    ),
    (
        Cause.WAREHOUSE_AWAY,
        {"warehouse": warehouse(error="timed out", lives=(), symbols=())},
        "BigQuery can't be asked: timed out",
    ),
    (
        Cause.IDS_MISSING,
        {"warehouse": warehouse(holes=(HOLE, HOLE))},
        "6 trade ids missing in 2 holes: ETHUSDT 5 to 7 (2026-11-22 12:00Z),"
        " ETHUSDT 5 to 7 (2026-11-22 12:00Z)",
    ),
]


@pytest.mark.parametrize(("cause", "changes", "sentence"), CASES)
def test_one_thing_broken_is_named_alone(
    cause: Cause, changes: dict[str, Any], sentence: str
) -> None:
    found = judge(observations(**changes))
    assert [(fault.cause, fault.sentence) for fault in found.faults] == [(cause, sentence)]


def test_the_cases_show_every_cause() -> None:
    assert {cause for cause, _, _ in CASES} == set(Cause)


def test_every_cause_has_a_sentence_whatever_was_seen() -> None:
    for cause in Cause:
        sentence_of(cause, observations(warehouse=warehouse(lives=()), collectors=()))


def test_a_young_collector_may_be_starting() -> None:
    epoch = int((NOW - timedelta(seconds=60)).timestamp()) * 1_000_000
    young = collector(status="starting", epoch=epoch, spooled_frames=0, open_connections=0)
    assert judge(observations(collectors=(young,))).faults == ()


def test_exchange_away_is_no_fault_while_the_collector_is_well() -> None:
    assert judge(observations(exchange=ExchangeSeen(error="timed out"))).faults == ()


def test_frames_on_the_way_are_no_lag_until_they_are_many_and_old() -> None:
    few = observations(warehouse=warehouse(lives=(life(last_sequence=979, closed_at=LATE),)))
    young = observations(warehouse=warehouse(lives=(life(last_sequence=0),)))
    assert signals_of(few).flow is Flow.SILENT
    assert signals_of(young).flow is Flow.MOVING
    assert in_flight(collector(), [life(last_sequence=979)])[0] == 19
    assert in_flight(collector(), [life(last_sequence=2_000)])[0] == 0
    assert lag_seconds(observations(collectors=(), warehouse=warehouse())) == 0


def test_unwatched_parts_are_no_fault() -> None:
    seen = observations(collectors=(), job=JobSeen())
    assert signals_of(seen).collector is Collectors.UNWATCHED
    assert judge(seen).faults == ()
    nothing_yet = observations(collectors=(), job=JobSeen(), warehouse=warehouse(lives=()))
    assert judge(nothing_yet).faults == ()


def test_stages_are_summed_up_when_well_and_when_not() -> None:
    well = summary(observations(broker=BrokerSeen(backlog=3, oldest_seconds=1)))
    assert list(well) == list(Stage)
    assert well[Stage.BROKER] == "the subscription is there; 3 messages waiting"
    assert well[Stage.JOB] == "http://job says running; 3 frames on the way, 2 s behind"
    away = summary(observations(warehouse=warehouse(error="gone"), collectors=()))
    assert away[Stage.WAREHOUSE] == "gone"
    assert away[Stage.HOLES] == "unknown"
    assert away[Stage.COLLECTOR] == "no collector is watched"


# Stale symbols


def test_a_symbol_is_suspect_beyond_the_setting_and_twice_its_own_usual_silence() -> None:
    assert suspects([symbol(silent_minutes=61, usual_minutes=30)], 3600)
    assert not suspects([symbol(silent_minutes=60, usual_minutes=1)], 3600)
    assert not suspects([symbol(silent_minutes=120, usual_minutes=60)], 3600)
    assert not suspects([symbol(silent_minutes=900, usual_minutes=None)], 3600)


def test_only_the_most_unusual_suspects_are_asked_for() -> None:
    found = suspects(
        [symbol(symbol=f"S{n:02}", silent_minutes=100 + n, usual_minutes=1) for n in range(30)], 60
    )
    assert [each.symbol for each in found] == [f"S{n}" for n in range(29, 19, -1)]


def test_the_busiest_are_asked_for_when_nothing_comes() -> None:
    symbols = tuple(symbol(symbol=f"S{n:02}", heard_minutes=n) for n in range(30))
    lives = (life(last_sequence=998, closed_at=LATE),)
    silent = observations(warehouse=warehouse(lives=lives, symbols=symbols))
    assert to_ask(silent, 60) == busiest(symbols)
    assert [each.symbol for each in busiest(symbols)][:2] == ["S29", "S28"]
    assert to_ask(observations(warehouse=warehouse(symbols=symbols)), 60) == []


def test_a_trade_on_the_way_proves_nothing() -> None:
    recent, old = NOW - timedelta(seconds=60), NOW - timedelta(seconds=121)
    assert not has_traded_on(10, [(10, old)], NOW)
    assert not has_traded_on(10, [(10, old), (11, recent)], NOW)
    assert has_traded_on(10, [(10, old), (11, old), (12, recent)], NOW)
    assert not has_traded_on(10, [], NOW)


def test_more_new_trades_than_fit_into_the_answer_prove_it() -> None:
    trades = [(11 + n, NOW) for n in range(ASKED_TRADES)]
    assert has_traded_on(10, trades, NOW)
    assert not has_traded_on(11, trades, NOW)


# Dataflow


def job(state: str, minutes: int = 30, created: int = 600, name: str = "j1") -> dict[str, str]:
    return {
        "id": name,
        "currentState": f"JOB_STATE_{state}",
        "currentStateTime": (NOW - timedelta(minutes=minutes)).isoformat(),
        "createTime": (NOW - timedelta(minutes=created)).isoformat(),
    }


@pytest.mark.parametrize(
    ("jobs", "state", "may_start"),
    [
        ([], JobState.DOWN, True),
        ([job("RUNNING")], JobState.RUNNING, False),
        ([job("QUEUED", 1, 1)], JobState.STARTING, False),
        ([job("PENDING", 1, 1)], JobState.STARTING, False),
        ([job("DRAINING")], JobState.PAUSED, False),
        ([job("CANCELLING")], JobState.PAUSED, False),
        ([job("DRAINED", 59)], JobState.PAUSED, False),
        ([job("UPDATED", 59)], JobState.PAUSED, False),
        ([job("CANCELLED", 59)], JobState.PAUSED, False),
        ([job("DRAINED", 60)], JobState.DOWN, True),
        ([job("FAILED", 1)], JobState.DOWN, True),
        ([job("DONE", 1)], JobState.DOWN, True),
        ([job("FAILED", 1, 9)], JobState.DOWN, False),
        ([job("FAILED", 1, 10)], JobState.DOWN, True),
        # an older failure does not matter, nor does an older drain
        ([job("FAILED", 300, 900), job("RUNNING", 5, 6, "j2")], JobState.RUNNING, False),
        ([job("UPDATED", 5, 900), job("RUNNING", 5, 6, "j2")], JobState.RUNNING, False),
        ([job("DRAINED", 5, 900), job("FAILED", 5, 30, "j2")], JobState.DOWN, True),
        # the job that replaces one that still drains
        ([job("DRAINING", 5, 900), job("RUNNING", 5, 6, "j2")], JobState.RUNNING, False),
    ],
)
def test_a_dataflow_job_is_started_only_when_nobody_stopped_it(
    jobs: list[dict[str, str]], state: JobState, may_start: bool
) -> None:
    found = dataflow_state(jobs, NOW)
    assert (found.state, found.may_start) == (state, may_start)


def test_the_job_is_started_when_it_is_down_and_may_be() -> None:
    down = JobSeen(state=JobState.DOWN, detail="failed", may_start=True)
    assert judge(observations(job=down)).starts_job
    assert not judge(observations(job=JobSeen(state=JobState.DOWN))).starts_job
    assert not judge(observations(job=JobSeen(may_start=True))).starts_job


def test_times_of_dataflow_are_read() -> None:
    seen = dataflow_state(
        [
            {
                "id": "j",
                "currentState": "JOB_STATE_DRAINED",
                "currentStateTime": "2026-11-22T11:30:00.123456Z",
                "createTime": "2026-11-20T10:00:00Z",
            }
        ],
        datetime(2026, 11, 22, 12, tzinfo=UTC),
    )
    assert seen.detail == "Dataflow job j is drained since 2026-11-22T11:30:00.123456Z"
    assert seen.state is JobState.PAUSED


def test_exchange_signals() -> None:
    assert signals_of(observations(exchange=ExchangeSeen(error="x"))).exchange is Exchange.AWAY
    assert signals_of(observations(exchange=ExchangeSeen(error="x"))).witness is Witness.UNKNOWN
