"""How fast the disk is that engines spill to: the limit of what works out of core."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 16 << 20


@dataclass(frozen=True, slots=True)
class DiskSpeed:
    """Bytes per second of one file, front to back."""

    write: float
    read: float

    def seconds(self, written: int, read: int) -> float:
        """Return the seconds that the disk needs at least."""
        return written / self.write + read / self.read


def measure(directory: Path, size: int) -> DiskSpeed:
    """Write `size` bytes and read them back, past the page cache where the file system can."""
    blocks = -(-size // _BLOCK)
    # Anonymous memory begins a page, as the kernel wants it.
    with tempfile.NamedTemporaryFile(dir=directory) as file, mmap.mmap(-1, _BLOCK) as block:
        block.write(os.urandom(_BLOCK))
        fd = _open_past_cache(file.name)
        try:
            began = time.perf_counter()
            for index in range(blocks):
                os.pwrite(fd, block, index * _BLOCK)
            os.fsync(fd)
            written = time.perf_counter()
            drop_cache(fd)
            began_reading = time.perf_counter()
            for index in range(blocks):
                os.preadv(fd, [block], index * _BLOCK)
            ended = time.perf_counter()
        finally:
            os.close(fd)
    total = blocks * _BLOCK
    return DiskSpeed(total / (written - began), total / (ended - began_reading))


def _open_past_cache(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError:  # tmpfs, among others
        return os.open(path, os.O_RDWR)


def drop_cache(fd: int) -> None:
    """Write a file back and take its pages out of the cache, so that it must be read again."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
