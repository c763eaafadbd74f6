import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.exchange.control import Session, TooManyStreamsError

VARIANTS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
BAD_ID = '{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}'
NO_NAME = '{"code":2,"msg":"Invalid request: property name must be a string"}'
TOO_MANY = '{"code":2,"msg":"Invalid request: too many parameters"}'

# request, reply: the documented ones (binance-protocol section 1, "Control messages").
GOLDEN = [
    ('{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}', '{"result":null,"id":1}'),
    ('{"method":"UNSUBSCRIBE","params":["a@trade"],"id":312}', '{"result":null,"id":312}'),
    ('{"method":"LIST_SUBSCRIPTIONS","id":3}', '{"result":["old@trade"],"id":3}'),
    ('{"method":"SET_PROPERTY","params":["combined",true],"id":5}', '{"result":null,"id":5}'),
    ('{"method":"GET_PROPERTY","params":["combined"],"id":2}', '{"result":false,"id":2}'),
    ('{"method":"GET_PROPERTY","params":["combined"],"id":"abc9"}', '{"result":false,"id":"abc9"}'),
    ('{"method":"GET_PROPERTY","params":["combined"],"id":null}', '{"result":false,"id":null}'),
    (
        '{"method":"SET_PROPERTY","params":["colour",true],"id":5}',
        '{"code":0,"msg":"Unknown property","id":5}',
    ),
    (
        '{"method":"GET_PROPERTY","params":["colour"],"id":6}',
        '{"code":0,"msg":"Unknown property","id":6}',
    ),
    (
        '{"method":"SET_PROPERTY","params":["combined",1],"id":5}',
        '{"code":1,"msg":"Invalid value type: expected Boolean"}',
    ),
    (
        '{"method":"SET_PROPERTY","params":["combined"],"id":5}',
        '{"code":1,"msg":"Invalid value type: expected Boolean"}',
    ),
    ('{"method":"SET_PROPERTY","params":[5,true],"id":5}', NO_NAME),
    ('{"method":"GET_PROPERTY","params":[],"id":5}', NO_NAME),
    ('{"method":"GET_PROPERTY","id":5}', NO_NAME),
    ('{"method":"GET_PROPERTY","params":["combined",1],"id":5}', TOO_MANY),
    ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":5}', TOO_MANY),
    ('{"method":"LIST_SUBSCRIPTIONS","params":["x"],"id":5}', TOO_MANY),
    ('{"method":"LIST_SUBSCRIPTIONS"}', BAD_ID),
    ('{"method":"LIST_SUBSCRIPTIONS","id":1.5}', BAD_ID),
    ('{"method":"LIST_SUBSCRIPTIONS","id":true}', BAD_ID),
    ('{"method":"LIST_SUBSCRIPTIONS","id":"' + "a" * 37 + '"}', BAD_ID),
    ('{"method":"LIST_SUBSCRIPTIONS","id":"a b"}', BAD_ID),
    (
        '{"method":"SUBSCRIBER","params":[],"id":5}',
        '{"code":2,"msg":"Invalid request: unknown variant `SUBSCRIBER`, '
        f'expected one of {VARIANTS} at line 1 column 22"}}',
    ),
    (
        '{"params":["btcusdt@trade"],"id":5}',
        '{"code":2,"msg":"Invalid request: missing field `method` at line 1 column 35"}',
    ),
    ("[1]", '{"code":2,"msg":"Invalid request: missing field `method` at line 1 column 3"}'),
    (
        '{"method":"SUBSCRIBE","id":5}',
        '{"code":2,"msg":"Invalid request: missing field `params` at line 1 column 29"}',
    ),
    (
        '{"method":"SUBSCRIBE","params":"x","id":5}',
        '{"code":2,"msg":"Invalid request: params must be a list"}',
    ),
    (
        '{"method":"SUBSCRIBE","params":[5],"id":5}',
        '{"code":2,"msg":"Invalid request: stream name must be a string"}',
    ),
    ("hello", '{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}'),
    (
        '{"method":\n x}',
        '{"code":3,"msg":"Invalid JSON: expected value at line 2 column 2"}',
    ),
]


@pytest.mark.parametrize(("request_text", "reply"), GOLDEN)
def test_replies_are_the_documented_ones(request_text: str, reply: str) -> None:
    session = Session(combined=False, max_streams=1024)
    session.subscribe(["old@trade"])
    assert session.handle(request_text).reply.decode() == reply


def test_subscriptions_are_kept_in_order_and_once() -> None:
    session = Session(combined=True, max_streams=None)
    outcome = session.handle('{"method":"SUBSCRIBE","params":["b","a","b"],"id":1}')
    assert outcome.added == ("b", "a")
    assert session.handle('{"method":"SUBSCRIBE","params":["a","c"],"id":1}').added == ("c",)
    outcome = session.handle('{"method":"UNSUBSCRIBE","params":["a","x","a"],"id":1}')
    assert outcome.removed == ("a",)
    assert session.streams == ("b", "c")


def test_setting_combined_changes_the_session() -> None:
    session = Session(combined=True, max_streams=None)
    session.handle('{"method":"SET_PROPERTY","params":["combined",false],"id":1}')
    assert session.combined is False


def test_a_connection_has_at_most_so_many_streams() -> None:
    session = Session(combined=True, max_streams=3)
    session.subscribe(["a", "b"])
    session.subscribe(["a", "c"])
    with pytest.raises(TooManyStreamsError, match="more than 3 streams"):
        session.handle('{"method":"SUBSCRIBE","params":["d"],"id":1}')
    assert session.streams == ("a", "b", "c")


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5
).map(json.dumps)


@settings(max_examples=50)
@given(st.text() | json_texts)
def test_any_text_has_a_json_reply(text: str) -> None:
    assert isinstance(json.loads(Session(False, 5).handle(text).reply), dict)
