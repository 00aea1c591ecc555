"""The node's memory: an anonymous file that every process of the node maps.

`Arena` belongs to the node, which makes it and hands out its descriptor; the processes use it
through `millpond.objectstore.mapping`. Where objects lie in it is not known here.

The file has no name: nothing is left of it when the last process that has it open or mapped is
gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import Final

#: Memory is reserved in steps of this many bytes, so that a system call is rare and short (20 ms).
SEGMENT: Final = 64 << 20


class Arena:
    """`capacity` bytes of shared memory, of which the pages are made when they are needed.

    Raises:
        OSError: the kernel gives no such file.
        ValueError: the capacity is not positive.
    """

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise ValueError(f"the capacity must be positive, it is {capacity}")
        self.capacity = capacity
        """Its size in bytes."""
        self.fd = os.memfd_create("millpond-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        """The descriptor to hand to other processes."""
        os.ftruncate(self.fd, capacity)
        # A process that could shrink the file could kill all others with SIGBUS.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)
        self._ensured = 0
        self._lock = threading.Lock()

    @classmethod
    def create(cls, capacity: int) -> Arena:
        """The same as the constructor."""
        return cls(capacity)

    @property
    def ensured(self) -> int:
        """All pages of [0, ensured) exist."""
        return self._ensured

    @property
    def resident_bytes(self) -> int:
        """Bytes of memory that the arena takes now, used or not."""
        return os.fstat(self.fd).st_blocks * 512

    def ensure(self, end: int) -> None:
        """Make all pages of [0, end) exist, and so usable without fear of SIGBUS.

        Takes about 0.4 s per GiB that did not exist, without the GIL; costs nothing for what did.
        Any thread may call.

        Raises:
            MemoryError: the machine (or its control group) has no memory left.
            ValueError: `end` is beyond the capacity.
        """
        if end <= self._ensured:
            return
        if end > self.capacity:
            raise ValueError(f"{end} is beyond the arena's {self.capacity} bytes")
        with self._lock:
            while self._ensured < end:
                size = min(SEGMENT, self.capacity - self._ensured)
                try:
                    os.posix_fallocate(self.fd, self._ensured, size)
                except OSError as error:
                    if error.errno in (errno.ENOMEM, errno.ENOSPC):
                        text = f"no memory for the object store beyond {self._ensured} bytes"
                        raise MemoryError(text) from error
                    raise
                self._ensured += size

    def close(self) -> None:
        """Close the node's descriptor; the memory lives on where it is mapped.

        Closing again does nothing.
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
