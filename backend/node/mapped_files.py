"""Letting go of files that are mapped and not needed for now: the code of libraries, mostly.

An import reads much of a library that is never looked at again. As long as a process has those
pages in its page tables they count as its memory, and the kernel takes them to be in use.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

__all__ = ["forget_mapped_files"]

_MADV_DONTNEED = 4
_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def forget_mapped_files() -> None:
    """Have no page of a file mapped; what is used again comes back from the page cache.

    Only where nothing of a mapping was changed, so that all of it can be read again.
    """
    for start, end in _unchanged_mappings():
        _madvise(start, end - start, _MADV_DONTNEED)


def _unchanged_mappings() -> Iterator[tuple[int, int]]:
    """Yield start and end of the private mappings of files that have no page of their own."""
    mapping: tuple[int, int] | None = None
    with open("/proc/self/smaps", "rb") as smaps:  # noqa: PTH123 - as one read, of bytes
        lines = smaps.read().splitlines()
    for line in lines:
        words = line.split(None, 5)
        if not words[0].endswith(b":"):
            start, _, end = words[0].partition(b"-")
            is_file = len(words) == 6 and words[5].startswith(b"/") and words[1].endswith(b"p")
            mapping = (int(start, 16), int(end, 16)) if is_file else None
        elif words[0] == b"Anonymous:" and mapping is not None and words[1] == b"0":
            yield mapping
