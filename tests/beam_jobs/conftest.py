"""Fixtures of the job's unit tests."""

import pytest

from beam_jobs.archive import storage_client
from beam_jobs.load import writer_pool


@pytest.fixture(autouse=True)
def _fresh_clients() -> None:
    """Clients live as long as the process; here a test has its own."""
    writer_pool.cache_clear()
    storage_client.cache_clear()
