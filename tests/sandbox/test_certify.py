"""Certifying a platform that others run."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from sandbox import certify


def test_every_address_of_a_name_is_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, *_: object) -> list[object]:
        family = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*family, (f"10.0.0.{last}", port)) for last in (3, 2, 3)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    environment = dict.fromkeys(certify.ADDRESSES, "h:1") | {"COLLECTOR_URL": "http://c:8080"}
    platform = certify.platform_from(environment, datetime.now(UTC))
    assert platform.collector_urls == ("http://10.0.0.2:8080", "http://10.0.0.3:8080")
    assert platform.collector_url == "http://10.0.0.2:8080"


def test_missing_addresses_are_all_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["certify"])
    for name in certify.ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JOB_URL", "http://job:8081")
    assert certify.main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(certify.ADDRESSES) - 1
    assert "AIRFLOW_PASSWORD is not set: password of Airflow's user admin" in lines
