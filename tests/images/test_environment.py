"""The compose file's .env."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from images.engine import ROOT
from images.environment import SECRETS, complete, values_of


def test_secrets_are_new_each_time_and_fit(tmp_path: Path) -> None:
    first, second = values_of("simulated"), values_of("simulated")
    assert all(first[name] != second[name] for name in SECRETS)
    assert len(base64.urlsafe_b64decode(first["AIRFLOW_FERNET_KEY"])) == 32
    # In a URL, in JSON and in a shell's word they need no quoting.
    assert all(re.fullmatch(r"[\w=-]+", first[name]) for name in SECRETS)


def test_what_is_there_stays_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("AIRFLOW_PASSWORD=mine\n#SANDBOX_RATE=5", "utf-8")
    added = complete(path, "simulated")
    assert "AIRFLOW_PASSWORD" not in added
    lines = path.read_text("utf-8").splitlines()
    assert lines[:2] == ["AIRFLOW_PASSWORD=mine", "#SANDBOX_RATE=5"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert complete(path, "simulated") == []


def test_the_compose_file_finds_all_that_it_needs() -> None:
    text = (ROOT / "docker-compose.yaml").read_text("utf-8")
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed == {*SECRETS}


def test_live_names_binances_addresses(tmp_path: Path) -> None:
    complete(tmp_path / ".env", "live")
    text = (tmp_path / ".env").read_text("utf-8")
    assert "COMPOSE_PROFILES=live\n" in text
    assert "EXCHANGE_REST_URL=https://api.binance.com\n" in text
