from random import Random

import pytest

from sandbox.exchange.faults import (
    KINDS,
    Fault,
    FaultError,
    FaultPlan,
    garbage,
    parse_fault,
    wrong_answer,
)
from sandbox.exchange.frames import BINARY, TEXT

TRADE = b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1.5"}}'


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plan(clock: Clock) -> FaultPlan:
    return FaultPlan(clock)


def sent(plan: FaultPlan, ids: range, stream: str = "btcusdt@trade", rank: int = 0) -> list[int]:
    """Return the ids that reach a client."""
    return [
        trade_id
        for trade_id in ids
        for _ in plan.passed(trade_id, rank, stream, TRADE % trade_id, TEXT)
    ]


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        ([], 'expected a JSON object with at least "what"'),
        ({"what": "dorp"}, "what: there is no fault 'dorp'; did you mean drop?"),
        ({"what": "stall"}, "seconds: stall needs it; give a number above 0, at most 3600"),
        (
            {"what": "drop", "count": 0},
            "count: expected a whole number from 1 to 10000000, was 0",
        ),
        ({"what": "drop", "count": True}, "was True"),
        ({"what": "drop", "cuont": 1}, "cuont: drop has no such parameter, was 1; did you mean"),
        ({"what": "rest_status", "status": 200}, "status: expected one of 403, 418, 429"),
        ({"what": "cut", "seconds": -1, "connections": 0}, "seconds: expected a number above 0"),
        ({"what": "cut", "seconds": -1, "connections": 0}, "connections: expected a whole number"),
        ({"what": "list", "symbol": "BTC/USDT"}, "symbol: expected a name like BTCUSDT"),
    ],
)
def test_a_wrong_description_names_every_mistake(body: object, mistake: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse_fault(body)
    assert mistake in str(caught.value)


def test_every_parameter_of_every_kind_is_a_field() -> None:
    for name, kind in KINDS.items():
        assert kind.summary
        assert kind.parameters.keys() <= set(Fault.__dataclass_fields__), name


def test_a_range_of_ids_is_dropped(plan: FaultPlan) -> None:
    plan.add(parse_fault({"what": "drop", "symbol": "BTCUSDT", "from_id": 103, "count": 2}))
    assert sent(plan, range(100, 108)) == [100, 101, 102, 105, 106, 107]
    assert sent(plan, range(103, 105), "ethusdt@trade") == [103, 104]
    (told,) = plan.describe()
    assert (told["struck"], told["ids"], told["is_over"]) == (2, [103, 104], True)
    assert not plan.strikes_messages


def test_messages_are_counted_before_it_strikes(plan: FaultPlan) -> None:
    plan.add(Fault("drop", after=2, every=2, count=2))
    assert sent(plan, range(1, 9)) == [1, 2, 3, 5, 7, 8]


def test_chance_is_the_seeds(clock: Clock) -> None:
    runs = []
    for seed in (1, 1, 2):
        plan = FaultPlan(clock)
        plan.add(Fault("drop", probability=0.5, seed=seed))
        runs.append(sent(plan, range(64)))
    assert runs[0] == runs[1] != runs[2]
    assert 10 < len(runs[0]) < 54


def test_only_some_connections_are_struck(plan: FaultPlan) -> None:
    plan.add(Fault("drop", connections=1, count=1))
    assert sent(plan, range(1, 2), rank=0) == []
    assert sent(plan, range(1, 2), rank=1) == [1]


def test_time_ends_a_fault(plan: FaultPlan, clock: Clock) -> None:
    plan.add(Fault("drop", seconds=5.0))
    assert sent(plan, range(1)) == []
    clock.now += 5.0
    assert sent(plan, range(1, 2)) == [1]


def test_faults_are_removed(plan: FaultPlan) -> None:
    fault_id = plan.add(Fault("drop"))
    assert plan.remove(fault_id)
    assert not plan.remove(fault_id)
    plan.add(Fault("drop"))
    plan.clear()
    assert [told["is_over"] for told in plan.describe()] == [True, True]
    assert sent(plan, range(1)) == [0]


def test_requests_are_struck_by_path(plan: FaultPlan) -> None:
    plan.add(Fault("rest_status", status=429, path="historicalTrades", count=1))
    assert plan.of_request("/api/v3/exchangeInfo") is None
    fault = plan.of_request("/api/v3/historicalTrades")
    assert fault is not None
    assert fault.status == 429
    assert plan.of_request("/api/v3/historicalTrades") is None


def test_handshakes_and_pings(plan: FaultPlan, clock: Clock) -> None:
    plan.add(Fault("cut"))
    assert not plan.refuses_connections()
    plan.add(Fault("cut", seconds=2.0))
    plan.add(Fault("no_ping", seconds=3.0))
    assert (plan.refuses_connections(), plan.withholds_pings()) == (True, True)
    clock.now += 2.0
    assert (plan.refuses_connections(), plan.withholds_pings()) == (False, True)


def test_garbage_is_no_message_and_text_is_utf8() -> None:
    random, message = Random(3), TRADE % 7
    for _ in range(200):
        instead, opcode = garbage(random, message)
        assert instead != message
        if opcode != BINARY:
            instead.decode()
        assert wrong_answer(random) is not None
