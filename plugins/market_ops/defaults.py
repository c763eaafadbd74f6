"""What all DAGs share: owner, retries, limits in time, tags. A test holds every DAG to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from .notify import on_failure

OWNER: Final = "market-data"
# Before the first trade that the platform can hold: DAGs never catch up by themselves.
START: Final = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

# The closed set of tags: what a DAG is about, and how it is started.
TAGS: Final = frozenset(
    {"stream", "archive", "marts", "quality", "report", "repair", "scheduled", "manual"}
)

DEFAULT_ARGS: Final[dict[str, Any]] = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(minutes=30),
    "on_failure_callback": on_failure,
}
