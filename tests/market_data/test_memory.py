import ctypes
import sys

import pytest

from market_data.memory import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_glibc_takes_it() -> None:
    assert keep_freed_memory() is hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


def test_elsewhere_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
