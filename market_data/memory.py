"""Memory: let a process that fills and frees large buffers all the time keep them."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 256 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed buffers of up to 256 MiB instead of returning them.

    Otherwise each column of each frame is memory fresh from the kernel, and its page faults cost
    as much as the decoding.

    Returns:
        True when the C library took it; False where it is not glibc.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
