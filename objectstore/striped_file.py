"""Anonymous files that look like one: dealt out by stripes, and mapped as one range of addresses.

The kernel lets one thread at a time write to a file, or make pages of it. With several files, as
many can: so fresh memory, which takes longer to get than to fill, comes that much faster.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from .fileio import punch, pwrite_all

__all__ = ["MOST_FILES", "StripedFile"]

#: A stripe is a multiple of this many bytes, and of what `MOST_STRIPES` makes it.
_STRIPE: Final = 16 << 20

#: Each stripe is a mapping of its own to the kernel, which every fork copies.
_MOST_STRIPES: Final = 256

#: More writers than this are bound by the memory's speed.
MOST_FILES: Final = 4
_FILES: Final = min(MOST_FILES, os.cpu_count() or 1)

_MAP_FIXED: Final = 0x10
_NO_ACCESS: Final = 0  # PROT_NONE
_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
)
_mmap.restype = ctypes.c_void_p
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED: Final = ctypes.c_void_p(-1).value


class StripedFile:
    """`capacity` bytes behind the descriptors that `create` made, which stay the caller's.

    Args:
        fds: all of them, in their order.
        capacity: bytes of them together, as given to `create`.
    """

    def __init__(self, fds: Sequence[int], capacity: int) -> None:
        self.fds = tuple(fds)
        self.capacity = capacity
        self._stripe = _stripe(capacity)

    @classmethod
    def create(cls, name: str, capacity: int) -> StripedFile:
        """Make files without a name in any directory, which can be sealed.

        Raises:
            OSError: the kernel gives no such file.
        """
        stripe = _stripe(capacity)
        count = min(_FILES, -(-capacity // stripe))
        sizes = [0] * count
        for index, start in enumerate(range(0, capacity, stripe)):
            sizes[index % count] += min(stripe, capacity - start)
        fds: list[int] = []
        try:
            for size in sizes:
                fds.append(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
                os.ftruncate(fds[-1], size)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return cls(fds, capacity)

    def file_of(self, offset: int) -> int:
        """Which of the files has the byte at an offset."""
        return offset // self._stripe % len(self.fds)

    def pieces(self, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Yield descriptor, offset in its file, and length of each piece of a range, in order."""
        stripe, count = self._stripe, len(self.fds)
        end = offset + size
        while offset < end:
            number, start = divmod(offset, stripe)
            length = min(stripe - start, end - offset)
            yield self.fds[number % count], number // count * stripe + start, length
            offset += length

    def pwrite(self, views: Sequence[memoryview], offset: int) -> None:
        """Write byte views one after the other at `offset`, without the GIL.

        Raises:
            OSError: the system call failed; some of the bytes may have been written.
        """
        rest = deque(views)
        for fd, start, length in self.pieces(offset, sum(map(len, views))):
            pwrite_all(fd, _take(rest, length), start)

    def allocate(self, offset: int, size: int) -> None:
        """Make the pages of a range that do not exist.

        Raises:
            OSError: there is no memory for them, or another error of the kernel.
        """
        for fd, start, length in self.pieces(offset, size):
            os.posix_fallocate(fd, start, length)

    def drop(self, offset: int, size: int) -> None:
        """Give the pages of a range back.

        Raises:
            OSError: the kernel cannot.
        """
        for fd, start, length in self.pieces(offset, size):
            punch(fd, start, length)

    @property
    def resident_bytes(self) -> int:
        """Bytes of all pages that exist."""
        return sum(os.fstat(fd).st_blocks for fd in self.fds) * 512

    def map(self) -> ctypes.Array[ctypes.c_char]:
        """Map all of it, writable and shared, for as long as what is returned lives.

        Raises:
            OSError: the kernel cannot.
        """
        # A range of addresses that nobody else gets, into which the stripes are put one by one.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address = _checked(_mmap(None, self.capacity, _NO_ACCESS, flags, -1, 0))
        memory = (ctypes.c_char * self.capacity).from_address(address)
        weakref.finalize(memory, _munmap, address, self.capacity).atexit = False
        access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | _MAP_FIXED
        for fd, start, length in self.pieces(0, self.capacity):
            _checked(_mmap(address, length, access, flags, fd, start))
            address += length
        return memory


def _take(views: deque[memoryview], size: int) -> list[memoryview]:
    """Remove the first `size` bytes of views that have at least as many, and return them."""
    taken: list[memoryview] = []
    while size:
        view = views.popleft()
        if len(view) > size:
            views.appendleft(view[size:])
            view = view[:size]
        taken.append(view)
        size -= len(view)
    return taken


def _stripe(capacity: int) -> int:
    return -(-capacity // (_MOST_STRIPES * _STRIPE)) * _STRIPE


def _checked(address: int | None) -> int:
    """What `mmap` returned, unless that says that it failed."""
    if address is None or address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address
