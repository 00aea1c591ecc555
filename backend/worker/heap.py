"""How much freed memory a worker's heap keeps, and giving it back.

Memory that goes back to the kernel at the end of one task is made anew, page by page, by the next:
for tasks that handle arrays and frames that is up to a third of their CPU time. By itself glibc
raises what it keeps as large blocks are freed, at most to what is set here, but follows the largest
single block: a task that holds several of them at once pays each time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import Final

__all__ = ["KEPT", "keep_freed_memory", "return_freed_memory"]

#: bytes at the end of the heap that are kept, at most
KEPT: Final = 64 << 20
#: bytes from which a block is not of the heap: it goes back to the kernel as soon as it is freed
_OWN_MAPPING: Final = 32 << 20
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: who sets one of these knows better
_VARIABLES: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")

_libc = ctypes.CDLL(None)


def keep_freed_memory() -> None:
    """Have the heap of this process, and of those forked from it, keep what is freed.

    Does nothing without glibc, or where the environment has settings for its heap.
    """
    if any(name in os.environ for name in _VARIABLES):
        return
    with contextlib.suppress(AttributeError):
        _libc.mallopt(_M_TRIM_THRESHOLD, KEPT)
        _libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)


def return_freed_memory() -> None:
    """Have the allocators of this process give back what they keep."""
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError):  # glibc only
        _libc.malloc_trim(0)
