"""`up --exchange live`: which services start, and what they are told; nothing is started here."""

import json
from pathlib import Path

import pytest
import yaml

from collector.settings import Settings as CollectorSettings
from collector.settings import read_settings as read_collector_settings
from plugins.market_ops.settings import parse_settings
from sandbox import cli
from sandbox.services import LIVE_SYMBOLS, build_services
from sandbox.settings import LIVE, LIVE_REST_URL, LIVE_WS_URL, ROOT, Settings
from sandbox.supervisor import Service


def services_of(tmp_path: Path, *flags: str) -> dict[str, Service]:
    """Return the services that the command line would start, by name."""
    python = tmp_path / "emulators" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch()
    options = cli._parser().parse_args(
        ["up", "--exchange", "live", "--pubsub", "embedded", "--home", str(tmp_path), *flags]
    )
    settings = cli.settings_of(options, {"SANDBOX_EMULATORS": str(tmp_path / "emulators")})
    return {each.name: each for each in build_services(settings, {})}


def test_no_exchange_of_ours_is_started_and_all_else_is(tmp_path: Path) -> None:
    assert [*services_of(tmp_path)] == [
        *("pubsub", "gcs", "bigquery", "provision", "job", "collector", "airflow")
    ]


@pytest.mark.parametrize("flags", [(), ("--collectors", "2")])
def test_collectors_are_sent_to_binance_over_tls(tmp_path: Path, flags: tuple[str, ...]) -> None:
    services = services_of(tmp_path, *flags)
    collectors = [each for name, each in services.items() if name.startswith("collector")]
    assert len(collectors) == 1 + len(flags) // 2
    for service in collectors:
        settings = read_collector_settings(service.environment)
        assert settings.ws_url == LIVE_WS_URL == CollectorSettings().ws_url
        assert settings.rest_url == LIVE_REST_URL == CollectorSettings().rest_url
        assert settings.symbols == LIVE_SYMBOLS
        assert service.after == ("provision", "job")


def test_chosen_symbols_and_channels_are_followed(tmp_path: Path) -> None:
    services = services_of(tmp_path, "--symbols", "BTCUSDT", "--channels", "trade,kline_1m")
    settings = read_collector_settings(services["collector"].environment)
    assert (settings.symbols, settings.channels) == (("BTCUSDT",), ("trade", "kline_1m"))


def test_repairs_ask_binance_and_its_archive(tmp_path: Path) -> None:
    environment = services_of(tmp_path)["airflow"].environment
    settings = parse_settings(json.loads(environment["AIRFLOW_VAR_MARKET_OPS"]))
    assert settings.exchange_url == LIVE_REST_URL
    assert settings.vision_url == "https://data.binance.vision"


def test_nothing_but_binance_is_outside_of_this_machine(tmp_path: Path) -> None:
    for service in services_of(tmp_path).values():
        for name, value in service.environment.items():
            if "://" in value and name.isupper() and not name.startswith("AIRFLOW_VAR"):
                is_binance = value in (LIVE_WS_URL, LIVE_REST_URL)
                assert is_binance or "//127.0.0.1" in value or "sqlite://" in value, name


def test_a_clock_of_the_simulation_has_no_part_in_it(tmp_path: Path) -> None:
    simulated = str(Settings(exchange=LIVE).ports.exchange)
    for service in services_of(tmp_path).values():
        told = [*service.command, *service.environment.values()]
        assert not [each for each in told if f":{simulated}" in each], service.name


def test_the_compose_files_live_profile_leaves_the_collector_its_defaults() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))["services"]
    live = {name for name, each in services.items() if "live" in each.get("profiles", ["live"])}
    collectors = [services[name] for name in live if name.startswith("collector")]
    assert "exchange" not in live
    assert len(collectors) == 1
    for collector in collectors:
        assert not {"BINANCE_WS_URL", "BINANCE_REST_URL"} & set(collector["environment"])
        assert set(collector["depends_on"]) <= live
