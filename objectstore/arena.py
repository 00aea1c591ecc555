"""The node's memory: anonymous files that every process of the node maps as one.

`Arena` belongs to the node, which makes it and hands out its descriptors; the processes use it
through `millpond.objectstore.mapping`. Where objects lie in it is not known here.

The files have no name: nothing is left of them when the last process that has them open or mapped
is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from typing import Final

from .striped_file import StripedFile

#: Pages are made in steps of this many bytes. The kernel lets nobody write to their file meanwhile,
#: so a step must be short: about 2 ms.
SEGMENT: Final = 4 << 20

#: How far `grow_ahead` goes beyond what is used: half as much again, between these bounds.
_AHEAD_MIN: Final = 32 << 20
_AHEAD_MAX: Final = 512 << 20

#: Seconds between two steps while nothing is stored: others have the memory's bandwidth for theirs.
_PAUSE: Final = 0.002


class Arena:
    """`capacity` bytes of shared memory, of which the pages are made when they are needed.

    Raises:
        OSError: the kernel gives no such files.
        ValueError: the capacity is not positive.
    """

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise ValueError(f"the capacity must be positive, it is {capacity}")
        self.capacity = capacity
        """Its size in bytes."""
        self._file = StripedFile.create("millpond-arena", capacity)
        self.fds = self._file.fds
        """The descriptors to hand to other processes."""
        # A process that could shrink a file could kill all others with SIGBUS.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        for fd in self.fds:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        self._ensured = 0
        self._ahead = 0
        self._used = False
        self._closed = False
        self._lock = threading.Lock()
        self._adjusting: threading.Thread | None = None

    @property
    def ensured(self) -> int:
        """All pages of [0, ensured) exist, as long as something is stored."""
        return self._ensured

    @property
    def resident_bytes(self) -> int:
        """Bytes of memory that the arena takes now, used or not."""
        return self._file.resident_bytes

    def begin_use(self) -> None:
        """A block comes into use: from now on no pages are given back.

        To be called before anybody may write to a block, whatever its size. Cheap to call often.
        """
        if not self._used:
            with self._lock:  # pages that are being given back may be those of the block
                self._used = True

    def ensure(self, end: int) -> None:
        """Make all pages of [0, end) exist, and so usable without fear of SIGBUS.

        Takes about 0.4 s per GiB that did not exist, without the GIL; costs nothing for what did.
        Any thread may call.

        Raises:
            MemoryError: the machine (or its control group) has no memory left.
            ValueError: `end` is beyond the capacity.
        """
        self.begin_use()
        if end <= self._ensured:
            return
        if end > self.capacity:
            raise ValueError(f"{end} is beyond the arena's {self.capacity} bytes")
        while self._ensured < end:
            self._ensure_segment()

    def grow_ahead(self, end: int) -> None:
        """Let a thread make pages beyond `end`, the end of a block that comes into use.

        Fresh pages cost most of the time that a first write takes; so they are made while the
        processes compute, and in proportion to what they use, since they are not given back.
        Cheap to call often.
        """
        self.begin_use()
        self._aim(max(self._ahead, end + min(max(_AHEAD_MIN, end // 2), _AHEAD_MAX)))

    def prepare(self, size: int) -> None:
        """Let a thread make the first `size` bytes of pages, without haste, for the first blocks.

        For want of memory it just stops.
        """
        self._aim(max(self._ahead, size))

    def withdraw(self) -> None:
        """Let a thread give back what `prepare` made, unless a block came into use meanwhile."""
        if not self._used:
            self._aim(0)

    def close(self) -> None:
        """Close the node's descriptors; the memory lives on where it is mapped.

        Closing again does nothing.
        """
        self._closed = True
        if self._adjusting is not None:
            self._adjusting.join()
            self._adjusting = None
        for fd in self.fds:
            os.close(fd)
        self.fds = ()

    def _aim(self, ahead: int) -> None:
        """Have the thread bring the pages that exist to `ahead` bytes, in whole segments."""
        ahead = min(-(-ahead // SEGMENT) * SEGMENT, self.capacity)
        if ahead == self._ahead:
            return
        self._ahead = ahead
        if self._adjusting is None or not self._adjusting.is_alive():
            self._adjusting = threading.Thread(
                target=self._adjust, name="millpond-arena", daemon=True
            )
            self._adjusting.start()

    def _adjust(self) -> None:
        with contextlib.suppress(MemoryError, OSError):
            while not self._closed and self._ensured != self._ahead:
                if self._ensured < self._ahead:
                    self._ensure_segment()
                elif not self._drop_segment():
                    return
                if not self._used:
                    time.sleep(_PAUSE)

    def _drop_segment(self) -> bool:
        with self._lock:
            if self._used:
                return False
            start = max(self._ahead, self._ensured - SEGMENT)
            size, self._ensured = self._ensured - start, start
            self._file.drop(start, size)
            return True

    def _ensure_segment(self) -> None:
        with self._lock:
            start = self._ensured
            size = min(SEGMENT, self.capacity - start)
            if size == 0:
                return
            try:
                self._file.allocate(start, size)
            except OSError as error:
                if error.errno in (errno.ENOMEM, errno.ENOSPC):
                    text = f"no memory for the object store beyond {start} bytes"
                    raise MemoryError(text) from error
                raise
            self._ensured = start + size
