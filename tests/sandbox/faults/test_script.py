from pathlib import Path

import pytest

from sandbox.faults.script import (
    BROKER_NAMES,
    KINDS,
    PLACES,
    ScriptError,
    parse_script,
    read_script,
)
from sandbox.pubsub.faults import parse_fault

SCRIPT = """
seed: 7
faults:
  - {at: 5, what: cut, seconds: 4, connections: 2}
  - {at: {messages: 20000}, what: broker_unavailable, seconds: 6}
  - {at: 0, what: kill, process: collector}
  - {at: 2.5, what: drop, symbol: 币安人生USDT, count: 3}
  - {at: 1, what: clock_jump, seconds: 600}
"""


def test_a_script_is_read_and_written() -> None:
    script = parse_script(SCRIPT)
    assert script.seed == 7
    assert [each.place for each in script.injections] == [
        *("exchange", "broker", "process", "exchange", "exchange"),
    ]
    assert [(each.seconds, each.messages) for each in script.injections][:3] == [
        (5, None),
        (None, 20000),
        (0, None),
    ]
    assert script.injections[0].parameters == {"seconds": 4, "connections": 2}
    assert parse_script(script.text) == script


def test_a_script_lasts_until_its_last_fault_is_over() -> None:
    assert parse_script(SCRIPT).lasts_seconds == 9
    assert parse_script("faults: []").lasts_seconds == 0
    delay = "faults: [{at: 3, what: delay, seconds: 2, delay_seconds: 1.5}]"
    assert parse_script(delay).lasts_seconds == 6.5


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "expected a mapping with `faults`"),
        ("faults: {", "while parsing a flow node"),
        ("seed: -1\nfaults: []", "seed: expected a whole number from 0 to 2147483648, was -1"),
        ("seeds: 1\nfaults: []", "seeds: a script has no such key; it takes seed and faults"),
        ("faults: 3", "faults: expected a list of faults, was 3"),
        ("faults: [cut]", "faults[0]: expected a mapping with at, what and parameters, was 'cut'"),
        (
            "faults: [{at: 1, what: cutt}]",
            "faults[0] (cutt): what: there is no fault 'cutt'; did you mean cut?",
        ),
        ("faults: [{what: cut}]", "faults[0] (cut): at: expected seconds from 0 to 86400, or"),
        ("faults: [{at: true, what: cut}]", "was True"),
        ("faults: [{at: -1, what: cut}]", "was -1"),
        ("faults: [{at: .nan, what: cut}]", "was nan"),
        ("faults: [{at: {messages: x}, what: cut}]", "at.messages: expected a whole number"),
        (
            "faults: [{at: 1, what: kill}]",
            "faults[0] (kill): process: kill needs it; give one of collector, collector-2, job,",
        ),
        (
            "faults: [{at: 1, what: kill, process: exchange}]",
            "process: expected one of collector, collector-2, job,",
        ),
        (
            "faults: [{at: 1, what: broker_slow, delay_seconds: 61}]",
            "delay_seconds: expected a number above 0, at most 60, was 61",
        ),
    ],
)
def test_a_mistake_names_the_item_the_value_and_the_remedy(text: str, mistake: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(text)
    assert mistake in str(caught.value)


def test_all_mistakes_are_told_together_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("faults: [{at: 1, what: cutt}, {at: 1, what: cut, secs: 1}]")
    with pytest.raises(ScriptError) as caught:
        read_script(path)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}: faults[0]")
    assert second.startswith(f"{path}: faults[1]")
    with pytest.raises(ScriptError, match="No such file"):
        read_script(tmp_path / "none")
    path.write_bytes(b"\xff")
    with pytest.raises(ScriptError, match="UTF-8"):
        read_script(path)


def test_every_kind_has_one_place_and_the_broker_takes_its_names() -> None:
    assert sum(len(kinds) for kinds in PLACES.values()) == len(KINDS)
    for kind in BROKER_NAMES.values():
        slow = {"delay_seconds": 1} if kind == "slow" else {}
        assert parse_fault({"kind": kind, "calls": 2, **slow}).calls == 2
