"""Settings of the DAGs: one Airflow Variable, `market_ops`, a JSON object.

Read at run time, by tasks, never while a DAG file is parsed. The sandbox and Composer differ in
this Variable and in the connection `google_cloud_default` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

VARIABLE: Final = "market_ops"
CONNECTION: Final = "google_cloud_default"


class SettingsError(ValueError):
    """Settings that can't be used; names every one with its value and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the DAGs need to know of their surroundings.

    Attributes:
        project: Google Cloud project of the datasets.
        location: of BigQuery's jobs and datasets.
        bucket: of the archive, reports and Data Docs.
        topic: id of the Pub/Sub topic that frames are published to.
        subscription: id of the job's subscription.
        collector_urls: base addresses of the collectors' `/healthz` and `/metrics`.
        job_url: base address of a job that runs as a process of its own (DirectRunner); empty when
            Dataflow runs it.
        dataflow: `job_name`, `region`, `template` (gs:// address of the flex template) and
            `parameters` (an object) of the job that should be running, `replay_template` of the one
            that `replay_archive` runs; empty without Dataflow.
        exchange_url: base address of Binance's REST interface for market data.
        vision_url: base address of data.binance.vision.
        page_url: how people reach Airflow, for links in messages and reports.
        bucket_url: how people reach the bucket's objects, for links.
        stale_after_seconds: a symbol without a new trade for so long is stale.
        retention_days: raw objects are kept so long after they were compacted.
        compaction_rows: trades that compaction holds in memory at a time, 53 bytes each and a few
            copies of them.
        alerts: `mail` (addresses) and `slack` (id of a connection); both may be missing.
    """

    project: str
    bucket: str
    location: str = "US"
    topic: str = "binance-frames"
    subscription: str = "binance-frames-job"
    collector_urls: tuple[str, ...] = ()
    job_url: str = ""
    dataflow: Mapping[str, Any] = field(default_factory=dict)
    exchange_url: str = "https://api.binance.com"
    vision_url: str = "https://data.binance.vision"
    page_url: str = "http://localhost:8080"
    bucket_url: str = "https://storage.cloud.google.com"
    stale_after_seconds: int = 3600
    retention_days: int = 7
    compaction_rows: int = 500_000
    alerts: Mapping[str, Any] = field(default_factory=dict)


def read_settings() -> Settings:
    """Read the Variable.

    Raises:
        SettingsError: it is missing or wrong.
    """
    from airflow.sdk import Variable

    value = Variable.get(VARIABLE, default=None, deserialize_json=True)
    if value is None:
        raise SettingsError(
            f"Variable {VARIABLE}: is missing; set it to a JSON object with at least project and"
            " bucket (docs/airflow.md lists all)"
        )
    return parse_settings(value)


def parse_settings(value: object) -> Settings:
    """Check the Variable's value.

    Raises:
        SettingsError: names every mistake.
    """
    if not isinstance(value, Mapping):
        raise SettingsError(f"Variable {VARIABLE}: expected a JSON object, was {value!r}")
    known = {each.name for each in fields(Settings)}
    mistakes = [
        f"{name}: there is no such setting; known are {', '.join(sorted(known))}"
        for name in value
        if name not in known
    ]
    given: dict[str, Any] = {}
    for name, (is_good, expected) in _RULES.items():
        if name not in value:
            if name in ("project", "bucket"):
                mistakes.append(f"{name}: is missing; expected {expected}")
        elif is_good(value[name]):
            given[name] = tuple(value[name]) if name == "collector_urls" else value[name]
        else:
            mistakes.append(f"{name}: expected {expected}, was {value[name]!r}")
    if mistakes:
        raise SettingsError("\n".join(f"Variable {VARIABLE}: {line}" for line in mistakes))
    return Settings(**given)


def _matches(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_address(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s/]+(/\S*)?", value) is not None


_Rule = tuple[Callable[[Any], bool], str]
_ADDRESS: Final[_Rule] = (_is_address, "an address as https://host")
_ID: Final[_Rule] = (_matches(r"[A-Za-z][\w.~+%-]{2,254}"), "an id of 3 to 255 letters and digits")
_OBJECT: Final[_Rule] = (lambda value: isinstance(value, Mapping), "an object")

_RULES: Final[dict[str, _Rule]] = {
    "project": (_matches(r"[a-z][a-z0-9-]{4,28}[a-z0-9]"), "a project id as my-project"),
    "bucket": (_matches(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"), "a bucket's name as my-archive"),
    "location": (_matches(r"[A-Za-z0-9-]+"), "a location as US or europe-west1"),
    "topic": _ID,
    "subscription": _ID,
    "collector_urls": (
        lambda value: isinstance(value, list) and all(map(_is_address, value)),
        "a list of addresses as http://host:port",
    ),
    "job_url": _ADDRESS,
    "dataflow": _OBJECT,
    "exchange_url": _ADDRESS,
    "vision_url": _ADDRESS,
    "page_url": _ADDRESS,
    "bucket_url": _ADDRESS,
    "stale_after_seconds": (_is_count, "a whole number of seconds above 0"),
    "retention_days": (_is_count, "a whole number of days above 0"),
    "compaction_rows": (_is_count, "a whole number of trades above 0"),
    "alerts": _OBJECT,
}
