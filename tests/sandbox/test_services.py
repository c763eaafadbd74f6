import dataclasses
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from collector.settings import read_settings as read_collector_settings
from sandbox.gcs import gcs_binary
from sandbox.services import (
    announced_environment,
    build_services,
    collector_environment,
    run_up_from,
    service_environment,
)
from sandbox.settings import (
    LIVE,
    LIVE_WS_URL,
    RECORDING,
    Ports,
    Settings,
    SettingsError,
)
from sandbox.supervisor import Service


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    python = tmp_path / "emulators" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return Settings(home=tmp_path, emulators=tmp_path / "emulators", pubsub="embedded")


def by_name(settings: Settings, environment: Mapping[str, str] | None = None) -> dict[str, Service]:
    return {service.name: service for service in build_services(settings, environment or {})}


def test_start_order_and_dependencies(settings: Settings) -> None:
    services = by_name(settings)
    assert [*services] == [
        *("pubsub", "gcs", "bigquery", "provision", "exchange", "job", "collector", "airflow")
    ]
    seen: set[str] = set()
    for service in services.values():
        assert seen.issuperset(service.after), service.name
        seen.add(service.name)
    assert services["provision"].is_step
    assert set(services["provision"].after) == {"pubsub", "gcs", "bigquery"}


def test_a_second_collector_has_what_is_its_own(settings: Settings) -> None:
    two = dataclasses.replace(settings, collectors=2)
    services = by_name(two)
    assert [name for name in services if name.startswith("collector")] == [
        "collector",
        "collector-2",
    ]
    environments = [services[name].environment for name in ("collector", "collector-2")]
    different = {key for key in environments[0] if environments[0][key] != environments[1][key]}
    assert different == {"COLLECTOR_ID", "COLLECTOR_SPOOL_DIR", "COLLECTOR_HTTP_PORT"}
    assert read_collector_settings(environments[1]).collector_id == "sandbox-2"
    assert services["collector-2"].address == two.collector_urls[1] == "http://127.0.0.1:8083"
    assert settings.collector_urls == (settings.collector_url,)


def test_every_port_has_its_setting(settings: Settings) -> None:
    ports = [port for service in by_name(settings).values() for port in service.ports]
    numbers = {port.number for port in ports}
    assert len(numbers) == len(ports) == 9
    assert all(
        port.number == getattr(Ports(), port.setting.removeprefix("SANDBOX_")[:-5].lower())
        for port in ports
    )


def test_live_has_no_exchange_and_differs_in_addresses_only(settings: Settings) -> None:
    live = Settings(home=settings.home, emulators=settings.emulators, exchange=LIVE)
    services = by_name(live)
    assert "exchange" not in services
    assert services["collector"].after == ("provision", "job")
    simulated, real = collector_environment(settings), collector_environment(live)
    different = {name for name in simulated if simulated[name] != real[name]}
    assert different == {"BINANCE_WS_URL", "BINANCE_REST_URL", "BINANCE_SYMBOLS"}
    assert real["BINANCE_WS_URL"] == LIVE_WS_URL


@pytest.mark.parametrize("exchange", ["simulated", LIVE])
def test_the_collector_understands_its_environment(settings: Settings, exchange: str) -> None:
    environment = collector_environment(Settings(home=settings.home, exchange=exchange))
    understood = read_collector_settings(environment)
    assert understood.channels == settings.channels
    assert understood.control_totals == "full"
    assert understood.spool_dir == settings.home / "spool"


def test_the_recordings_are_passed_on(settings: Settings) -> None:
    files = (Path("/a.gz"), Path("/b.gz"))
    recording = Settings(
        home=settings.home, emulators=settings.emulators, exchange=RECORDING, recordings=files
    )
    command = by_name(recording)["exchange"].command
    assert [*command[-4:]] == ["--recording", "/a.gz", "--recording", "/b.gz"]


@pytest.mark.parametrize(
    ("now", "begins"),
    [
        ("2026-11-22T22:10:00", "2026-11-20T21:00:00"),
        ("2026-11-22T02:59:59", "2026-11-19T21:00:00"),
    ],
)
def test_a_run_up_covers_a_day_that_ended_hours_ago(now: str, begins: str) -> None:
    assert run_up_from(datetime.fromisoformat(now)) == datetime.fromisoformat(begins)


def test_what_a_recording_holds_is_subscribed() -> None:
    status = {"symbols": ["BTCUSDT", "ETHUSDT"], "channels": ["trade", "depth@100ms"]}
    assert announced_environment(status) == {
        "BINANCE_SYMBOLS": "BTCUSDT,ETHUSDT",
        "BINANCE_CHANNELS": "trade,depth@100ms",
    }


@pytest.mark.parametrize("status", [{}, {"symbols": [], "channels": ["trade"]}])
def test_an_empty_recording_is_refused(status: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="nothing to replay"):
        announced_environment(status)


@pytest.mark.integration
def test_the_exchange_is_asked_just_before_the_collector_starts(settings: Settings) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"symbols": ["A"], "channels": ["trade"]}).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        recording = Settings(
            home=settings.home,
            emulators=settings.emulators,
            exchange=RECORDING,
            ports=Ports(exchange=server.server_port),
        )
        ask = by_name(recording)["collector"].late_environment
        assert ask is not None
        assert ask() == {"BINANCE_SYMBOLS": "A", "BINANCE_CHANNELS": "trade"}
        server.shutdown()


def test_services_get_the_users_environment_and_never_a_proxy_for_loopback() -> None:
    environment = service_environment(Settings(), {"HOME": "/home/me", "NO_PROXY": "intranet"})
    assert environment["HOME"] == "/home/me"
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet,127.0.0.1,localhost"
    assert environment["PUBSUB_EMULATOR_HOST"] == "127.0.0.1:8085"


def test_missing_emulators_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"SANDBOX_EMULATORS.*make setup"):
        by_name(Settings(home=tmp_path, emulators=tmp_path, pubsub="embedded"))


def test_googles_emulator_is_taken_when_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    google = Settings(home=settings.home, emulators=settings.emulators, pubsub="google")
    monkeypatch.setattr("sandbox.services.find_google_emulator", lambda _: ["java", "-jar", "x"])
    pubsub = by_name(google)["pubsub"]
    assert pubsub.command == ("java", "-jar", "x", "--host=127.0.0.1", "--port=8085")
    assert [port.number for port in pubsub.ports] == [8085]
    monkeypatch.setattr("sandbox.services.find_google_emulator", lambda _: None)
    with pytest.raises(SettingsError, match="install Java 17"):
        by_name(google)
    auto = Settings(home=settings.home, emulators=settings.emulators)
    assert by_name(auto)["pubsub"].command[:3] == (sys.executable, "-m", "sandbox.pubsub")


def test_the_storage_servers_binary_is_there() -> None:
    assert gcs_binary().is_file()
