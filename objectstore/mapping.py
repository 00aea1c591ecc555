"""A process's access to the node's memory: one mapping for life.

Writing. A page that this process has not touched yet costs a page fault, which takes several times
as long as copying 4 KiB does; writing through the file descriptor costs none. But the kernel lets
one process at a time write to a file, and copying through the mapping is twice as fast once its
pages are there. So each region is written through the descriptor until that has cost about as much
as the page faults, and through the mapping from then on. Large values take both ways at once.

No way of writing can end in a SIGBUS: for want of memory the descriptor raises, and a region is
used through the mapping only after the kernel has said that its pages exist.

Reading. Buffers are read-only, point into the mapping, and keep it (and what pins the object)
alive.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import weakref
from array import array
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .copying import address_of
from .fileio import byte_views, map_file, pwrite_all

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import ReadableBuffer

#: The mapping's state is known for regions of this many bytes.
_REGION: Final = 2 << 20

#: Bytes written through the descriptor, per region, after which its page faults would have been
#: cheaper.
_BREAK_EVEN: Final = 3 * _REGION

#: Values of at least this many bytes are copied by more than one thread, in chunks.
_LARGE: Final = 32 << 20
_CHUNK: Final = 8 << 20

#: Copies below this size are not worth letting the GIL go.
_SMALL: Final = 64 << 10

#: Copying is bound by the memory's speed: more threads than this do not help.
_THREADS: Final = min(4, len(os.sched_getaffinity(0)))

_MADV_POPULATE_WRITE: Final = 23

_libc = ctypes.CDLL(None, use_errno=True)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_madvise.restype = ctypes.c_int


class ArenaMapping:
    """The arena behind a descriptor of it, which the caller may close afterwards.

    Raises:
        OSError: it cannot be mapped.
    """

    def __init__(self, fd: int, capacity: int) -> None:
        self.capacity = capacity
        """The arena's size in bytes."""
        self._fd = os.dup(fd)
        weakref.finalize(self, os.close, self._fd).atexit = False
        self._memory = mmap.mmap(fd, capacity)
        self._bytes = memoryview(self._memory)
        with address_of(self._memory) as address:
            self._address = address  # it stays: `_bytes` keeps the mapping from being closed
        regions = -(-capacity // _REGION)
        self._resident = bytearray(regions)
        self._through_file = array("Q", bytes(8 * regions))

    def write(self, offset: int, parts: Sequence[ReadableBuffer]) -> int:
        """Copy the parts one after the other to `offset`, and return how many bytes that were.

        Safe from several threads for blocks that do not overlap. Large copies let the GIL go.

        Raises:
            OSError: the machine has no memory left for the block (`errno.ENOMEM` or `ENOSPC`).
            TypeError: a part is not a contiguous buffer.
            ValueError: the parts do not fit between `offset` and the end of the arena.
        """
        views = byte_views(parts)
        size = sum(map(len, views))
        self._check(offset, size)
        if size >= _LARGE:
            self._write_large(offset, views)
        else:
            self._write(offset, views, size)
        return size

    def view(self, offset: int, size: int) -> memoryview:
        """A writable view of a block, to be used only while it is the caller's to use.

        Its pages should exist: touching one that cannot be made ends the process with SIGBUS.

        Raises:
            ValueError: the block is not inside the arena.
        """
        self._check(offset, size)
        return self._bytes[offset : offset + size]

    def buffer(self, offset: int, size: int, pin: object = None) -> pa.Buffer:
        """A read-only buffer over a block.

        It keeps `pin` and the mapping alive, and so do its slices and the arrays built over it.

        Raises:
            ValueError: the block is not inside the arena.
        """
        import pyarrow as pa  # takes 100 ms, and many processes never read a large value

        self._check(offset, size)
        return pa.foreign_buffer(self._address + offset, size, base=(self._bytes, pin))

    #: Objects in files are read by the same means.
    map_file = staticmethod(map_file)

    @staticmethod
    def write_file(path: str | os.PathLike[str], parts: Sequence[ReadableBuffer]) -> None:
        """Write an object to a file: see `millpond.objectstore.spill.checked_file`."""
        from .spill.checked_file import write_checked  # few processes ever need it

        write_checked(path, parts)

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.capacity:
            text = f"[{offset}, {offset + size}) is not inside the arena's {self.capacity} bytes"
            raise ValueError(text)

    def _write(self, offset: int, views: Sequence[memoryview], size: int) -> None:
        """Write in this thread, the way that the block's regions are written at present."""
        if not self._is_resident(offset, size):
            pwrite_all(self._fd, views, offset)
            self._count(offset, size)
            return
        for view in views:
            if len(view) < _SMALL:
                self._bytes[offset : offset + len(view)] = view
            else:
                with address_of(view) as source:
                    ctypes.memmove(self._address + offset, source, len(view))
            offset += len(view)

    def _write_large(self, offset: int, views: Sequence[memoryview]) -> None:
        """Share the chunks among threads: this one writes through the descriptor where it must."""
        chunks: deque[tuple[int, memoryview]] = deque()
        for view in views:
            for start in range(0, len(view), _CHUNK):
                chunks.append((offset + start, view[start : start + _CHUNK]))
            offset += len(view)
        failed: list[OSError] = []

        def work(*, populate: bool) -> None:
            while True:
                try:
                    at, chunk = chunks.popleft()
                except IndexError:
                    return
                if populate and not self._is_resident(at, len(chunk)):
                    self._populate(at, len(chunk))
                self._write(at, [chunk], len(chunk))

        def help_out() -> None:
            try:
                work(populate=True)
            except OSError as error:
                failed.append(error)
                chunks.clear()

        threads = [
            threading.Thread(target=help_out, name="millpond-copy")
            for _ in range(min(_THREADS, len(chunks)) - 1)
        ]
        for thread in threads:
            thread.start()
        try:
            work(populate=False)
        finally:  # whatever happened, nobody writes to the block after this
            chunks.clear()
            for thread in threads:
                thread.join()
        if failed:
            raise failed[0]

    def _is_resident(self, offset: int, size: int) -> bool:
        """Whether all pages of the block are known to be in this process's page table."""
        first, last = offset // _REGION, (offset + size - 1) // _REGION
        return self._resident.find(0, first, last + 1) < 0

    def _count(self, offset: int, size: int) -> None:
        """Account for bytes that went through the descriptor; switch regions that had enough."""
        if size == 0:
            return
        end = offset + size
        for region in range(offset // _REGION, (end - 1) // _REGION + 1):
            start = region * _REGION
            self._through_file[region] += min(end, start + _REGION) - max(offset, start)
            if self._through_file[region] >= _BREAK_EVEN:
                self._populate(start, min(_REGION, self.capacity - start))
                self._through_file[region] = 0

    def _populate(self, offset: int, size: int) -> bool:
        """Enter the block's pages in this process's page table, making those that do not exist.

        False when the kernel cannot: for want of memory, or because it is older than 5.14.
        """
        start = offset & -mmap.PAGESIZE
        end = offset + size
        if _madvise(self._address + start, end - start, _MADV_POPULATE_WRITE):
            return False
        whole = slice(-(-start // _REGION), end // _REGION)
        if end == self.capacity:
            whole = slice(whole.start, len(self._resident))
        count = max(0, whole.stop - whole.start)
        self._resident[whole.start : whole.start + count] = b"\1" * count
        return True
