"""How fast the disk is that engines spill to: the limit of what works out of core."""

from __future__ import annotations

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
    """Write `size` bytes with an fsync at the end, and read them back from the disk itself."""
    block = memoryview(os.urandom(_BLOCK))
    blocks = -(-size // _BLOCK)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        began = time.perf_counter()
        for _ in range(blocks):
            file.write(block)
        os.fsync(file.fileno())
        written = time.perf_counter()
        drop_cache(file.fileno())
        target = bytearray(_BLOCK)
        file.seek(0)
        began_reading = time.perf_counter()
        while file.readinto(target):
            pass
        ended = time.perf_counter()
    total = blocks * _BLOCK
    return DiskSpeed(total / (written - began), total / (ended - began_reading))


def drop_cache(fd: int) -> None:
    """Write a file back and take its pages out of the cache, so that it must be read again."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
