import json
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from plugins.market_ops.settings import parse_settings
from sandbox.airflow.environment import airflow_environment, password_file, read_password, variable
from sandbox.settings import LIVE, LIVE_REST_URL, Settings


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first = airflow_environment(settings)
    password = read_password(settings)
    assert len(password) >= 16
    assert airflow_environment(settings) == first
    assert read_password(settings) == password
    for path in (tmp_path / "airflow").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert password not in json.dumps(first)


def test_renamed_processes_keep_their_mark(tmp_path: Path) -> None:
    assert airflow_environment(Settings(home=tmp_path))["SPT_NOENV"]


def test_a_writer_waits_for_another_one(tmp_path: Path) -> None:
    """SQLite's own 5 s are not enough on a busy machine: a click would be an HTTP 500."""
    url = make_url(
        airflow_environment(Settings(home=tmp_path))["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    )
    (file,), options = url.get_dialect()().create_connect_args(url)
    assert (file, options["timeout"]) == (str(tmp_path / "airflow" / "airflow.db"), 30.0)


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    environment = airflow_environment(Settings(home=tmp_path))
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__API__PORT"] == "8080"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("exchange", ["simulated", LIVE])
def test_the_variable_is_one_that_the_dags_accept(exchange: str) -> None:
    settings = Settings(exchange=exchange)
    read = parse_settings(variable(settings))
    assert read.project == "crypto-local"
    assert read.collector_urls == (settings.collector_url,)
    assert read.page_url == settings.airflow_url
    expected = LIVE_REST_URL if exchange == LIVE else settings.exchange_url
    assert read.exchange_url == expected
    archive = "https://data.binance.vision" if exchange == LIVE else settings.exchange_url
    assert read.vision_url == archive


def test_a_home_without_airflow_has_no_password(tmp_path: Path) -> None:
    assert not password_file(Settings(home=tmp_path)).exists()
    with pytest.raises(FileNotFoundError):
        read_password(Settings(home=tmp_path))
