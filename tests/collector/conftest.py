"""Which event loop the collector's tests run on: production's, or one whose clock jumps."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.collector.virtual_time import VirtualTimeLoop

_VIRTUAL = {"test_connection.py", "test_fleet.py", "test_healer.py", "test_lane.py"}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in _VIRTUAL:
        return {"virtual": VirtualTimeLoop}
    return {"uvloop": uvloop.new_event_loop}
