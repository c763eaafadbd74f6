import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.settings import (
    AUDIT_SUBSCRIPTION,
    JOB_SUBSCRIPTION,
    LIVE,
    ROOT,
    Ports,
    Settings,
    SettingsError,
    platform_of,
    read_settings,
)


def test_nothing_set_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"SANDBOX_RATE": " "}) == Settings()


def test_every_setting_is_read() -> None:
    settings = read_settings(
        {
            "SANDBOX_HOME": "/elsewhere",
            "SANDBOX_PUBSUB": "embedded",
            "SANDBOX_EXCHANGE": "live",
            "SANDBOX_TRANSPORT": "picows",
            "SANDBOX_COLLECTORS": "2",
            "SANDBOX_TABLES": "disk",
            "SANDBOX_SYMBOLS": "BTCUSDT, ETHUSDT",
            "SANDBOX_CHANNELS": "trade",
            "SANDBOX_RATE": "5000",
            "SANDBOX_SPEED": "2.5",
            "SANDBOX_SEED": "7",
            "SANDBOX_MARKET_SIZE": "3",
            "SANDBOX_BIGQUERY_GRPC_PORT": "19060",
        }
    )
    assert settings == Settings(
        home=Path("/elsewhere"),
        pubsub="embedded",
        exchange="live",
        transport="picows",
        collectors=2,
        tables="disk",
        symbols=("BTCUSDT", "ETHUSDT"),
        channels=("trade",),
        rate=5000,
        speed=2.5,
        seed=7,
        market_size=3,
        ports=Ports(bigquery_grpc=19060),
    )


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(
            {
                "SANDBOX_PUBSUB": "kafka",
                "SANDBOX_RATE": "0",
                "SANDBOX_SPEED": "inf",
                "SANDBOX_SEED": "-1",
                "SANDBOX_SYMBOLS": "btc/usdt",
                "SANDBOX_GCS_PORT": "70000",
                "SANDBOX_PORTS": "some",
            }
        )
    assert str(caught.value).splitlines() == [
        "SANDBOX_PUBSUB: expected one of auto, google, embedded, was 'kafka'",
        "SANDBOX_SYMBOLS: expected names separated by commas, as in BTCUSDT,ETHUSDT, "
        "was 'btc/usdt'",
        "SANDBOX_RATE: expected a whole number above 0, was '0'",
        "SANDBOX_SPEED: expected a number above 0, was 'inf'",
        "SANDBOX_SEED: expected a whole number, was '-1'",
        "SANDBOX_PORTS: expected fixed or auto, was 'some'",
        "SANDBOX_GCS_PORT: expected a port from 1 to 65535, was '70000'",
    ]


def test_more_than_two_collectors_are_refused() -> None:
    with pytest.raises(SettingsError, match="SANDBOX_COLLECTORS: expected one of 1, 2, was '3'"):
        read_settings({"SANDBOX_COLLECTORS": "3"})


def test_two_services_on_one_port_are_refused() -> None:
    with pytest.raises(SettingsError, match="each service needs one of its own"):
        read_settings({"SANDBOX_GCS_PORT": "9050"})


def test_auto_ports_are_distinct_and_a_given_one_wins() -> None:
    ports = read_settings({"SANDBOX_PORTS": "auto", "SANDBOX_GCS_PORT": "24443"}).ports
    assert ports.gcs == 24443
    assert ports.pubsub != Ports().pubsub


def test_settings_survive_json() -> None:
    settings = Settings(symbols=("BTCUSDT",), recordings=(Path("/a.gz"),), ports=Ports(gcs=1))
    assert Settings.from_document(json.loads(json.dumps(settings.document))) == settings


def test_live_has_no_exchange_of_ours() -> None:
    assert Settings(exchange=LIVE).exchange_url is None
    assert Settings().exchange_url == "http://127.0.0.1:9443"


def test_the_platform_has_the_addresses() -> None:
    platform = platform_of(
        Settings(),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ready_seconds=1.5,
        peak_memory=dict,
    )
    assert platform.pubsub_host == "127.0.0.1:8085"
    assert platform.bigquery_grpc == "127.0.0.1:9060"
    assert platform.subscriptions == (JOB_SUBSCRIPTION, AUDIT_SUBSCRIPTION)
    assert platform.dbt_dir == ROOT / "dbt"


def test_every_setting_is_in_the_example() -> None:
    from sandbox.settings import NAMES

    text = (ROOT / ".env.example").read_text("utf-8")
    assert [name for name in NAMES if f"{name}=" not in text] == []
