"""`.env` of the compose file: secrets that are made here, and the choice of the exchange."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

EXCHANGES: Final = ("simulated", "live")
SECRETS: Final[Mapping[str, Callable[[], str]]] = {
    "AIRFLOW_PASSWORD": lambda: secrets.token_urlsafe(12),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AIRFLOW_SESSION_KEY": lambda: secrets.token_urlsafe(48),
    "AIRFLOW_JWT_KEY": lambda: secrets.token_urlsafe(48),
    "POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
}
# What Airflow asks, beside the collector: docs/live.md.
_LIVE: Final = {
    "EXCHANGE_REST_URL": "https://api.binance.com",
    "EXCHANGE_VISION_URL": "https://data.binance.vision",
}


def values_of(exchange: str) -> dict[str, str]:
    """Return new secrets and the addresses of an exchange, by variable."""
    chosen = {"COMPOSE_PROFILES": exchange}
    made = {name: make() for name, make in SECRETS.items()}
    return {**chosen, **made, **(_LIVE if exchange == "live" else {})}


def complete(path: Path, exchange: str) -> list[str]:
    """Add to a `.env` what the compose file needs and it lacks; return the names.

    What is there stays: a password that changes locks out those who have the old one.
    """
    text = path.read_text("utf-8") if path.exists() else ""
    there = {line.split("=", 1)[0].strip() for line in text.splitlines() if "=" in line}
    added = {name: value for name, value in values_of(exchange).items() if name not in there}
    lines = "".join(f"{name}={value}\n" for name, value in added.items())
    if text and not text.endswith("\n"):
        text += "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + lines)
    path.chmod(0o600)  # it was there, for all to read
    return [*added]
