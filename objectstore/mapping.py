"""A process's access to the node's memory: one mapping for life.

Writing. A page that this process has not touched yet costs a page fault, which takes several times
as long as copying 4 KiB does; writing through the file descriptors costs none, and makes pages that
do not exist twice as fast. But copying through the mapping is three times as fast once its pages
are there. So each region is written through the descriptors until that has cost about as much as
the page faults, and through the mapping from then on. Large values are shared among threads, each
of which begins with another file: the kernel lets one at a time write to a file.

No way of writing can end in a SIGBUS: for want of memory the descriptors raise, and a region is
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
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from .copying import address_of
from .fileio import byte_views, map_file
from .striped_file import StripedFile

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import ReadableBuffer

#: The mapping's state is known for regions of this many bytes.
_REGION: Final = 2 << 20

#: Bytes written through the descriptors, per region, after which its page faults would have been
#: cheaper: all at once, before a large value, and else.
_BREAK_EVEN_LARGE: Final = _REGION
_BREAK_EVEN: Final = 3 * _REGION

#: Values of at least this many bytes are copied by more than one thread, in chunks. Their writers
#: make pages as fast as the memory allows, so nobody should make them ahead.
LARGE: Final = 32 << 20
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
    """The arena behind its descriptors, which the caller may close afterwards.

    Args:
        fds: all of them, in their order.
        capacity: the arena's size in bytes.

    Raises:
        OSError: it cannot be mapped.
    """

    def __init__(self, fds: Sequence[int], capacity: int) -> None:
        self.capacity = capacity
        """The arena's size in bytes."""
        self._file = StripedFile([os.dup(fd) for fd in fds], capacity)
        for fd in self._file.fds:
            weakref.finalize(self, os.close, fd).atexit = False
        self._bytes = memoryview(self._file.map()).cast("B")
        with address_of(self._bytes) as address:
            self._address = address  # it stays: `_bytes` keeps the mapping
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
        if size >= LARGE:
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
            self._file.pwrite(views, offset)
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
        """Share the chunks among threads, of which each begins with the chunks of another file."""
        chunks = _Chunks(self._file, offset, views)
        failed: list[OSError] = []

        def work(first: int) -> None:
            for at, chunk in chunks.take(first):
                if self._is_worth_mapping(at, len(chunk)):
                    self._populate(at, len(chunk))
                self._write(at, [chunk], len(chunk))

        def help_out(first: int) -> None:
            try:
                work(first)
            except OSError as error:
                failed.append(error)
                chunks.drop()

        threads = [
            threading.Thread(target=help_out, args=(number,), name="millpond-copy")
            for number in range(1, min(_THREADS, chunks.count))
        ]
        for thread in threads:
            thread.start()
        try:
            work(0)
        finally:  # whatever happened, nobody writes to the block after this
            chunks.drop()
            for thread in threads:
                thread.join()
        if failed:
            raise failed[0]

    def _is_worth_mapping(self, offset: int, size: int) -> bool:
        """Whether all of a block has been written before, and not all of it is mapped."""
        if self._is_resident(offset, size):
            return False
        regions = range(offset // _REGION, (offset + size - 1) // _REGION + 1)
        return all(
            self._resident[region] or self._through_file[region] >= _BREAK_EVEN_LARGE
            for region in regions
        )

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


class _Chunks:
    """The chunks of a large value, for several threads to take, by the file that each goes to."""

    def __init__(self, file: StripedFile, offset: int, views: Sequence[memoryview]) -> None:
        self._queues: list[deque[tuple[int, memoryview]]] = [deque() for _ in file.fds]
        for view in views:
            start = 0
            while start < len(view):
                length = min(len(view) - start, _CHUNK - (offset + start) % _CHUNK)
                piece = offset + start, view[start : start + length]
                self._queues[file.file_of(offset + start)].append(piece)
                start += length
            offset += len(view)
        self.count = sum(map(len, self._queues))

    def take(self, first: int) -> Iterator[tuple[int, memoryview]]:
        """Remove chunks and yield them with their offsets, those of file `first` before others."""
        first %= len(self._queues)
        for queue in self._queues[first:] + self._queues[:first]:
            while True:
                try:
                    taken = queue.popleft()
                except IndexError:
                    break
                yield taken

    def drop(self) -> None:
        """Leave nothing to take."""
        for queue in self._queues:
            queue.clear()
