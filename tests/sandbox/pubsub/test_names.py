import pytest

from sandbox.pubsub.errors import InvalidArgumentError
from sandbox.pubsub.names import check_name, check_project, make_ack_id, parse_ack_id


@pytest.mark.parametrize("short", ["abc", "a-b_c.d~e+f%41", "goOgle", "Trades", "a" * 255])
def test_takes_what_google_takes(short):
    check_name("topics", f"projects/crypto-local/topics/{short}")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "trades",
        "projects/p/topics/",
        "projects/p/topics/ab",
        "projects/p/topics/1abc",
        "projects/p/topics/-abc",
        "projects/p/topics/googlish",
        "projects/p/topics/a b c",
        "projects/p/topics/äöü",
        "projects/p/topics/" + "a" * 256,
        "projects/p/subscriptions/abc",
        "projects//topics/abc",
        "projects/p/q/topics/abc",
        "x/p/topics/abc",
        "projects/p/topics/abc\n",
    ],
)
def test_refuses_other_names_by_name(name):
    with pytest.raises(InvalidArgumentError, match="expected projects/<project>/topics/<id>"):
        check_name("topics", name)


def test_project_prefix():
    assert check_project("projects/crypto-local") == "projects/crypto-local/"
    for name in ("", "projects/", "crypto-local", "projects/a/b"):
        with pytest.raises(InvalidArgumentError, match=r"\[projects\]"):
            check_project(name)


def test_ack_ids_round_trip():
    assert parse_ack_id(make_ack_id(17, 4)) == (17, 4)


@pytest.mark.parametrize("text", ["", "zork", "1", "1:", ":1", "1:2:3", "-1:2", "²:1", "1: 2"])
def test_refuses_malformed_ack_ids(text):
    with pytest.raises(InvalidArgumentError, match="Invalid ack id"):
        parse_ack_id(text)
