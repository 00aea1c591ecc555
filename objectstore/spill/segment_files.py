"""Segment files: writing and reading.

There are three ways to write them, by how much of the page cache they take (`Way`). Which object is
where is not known here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Final, Self

from ..fileio import punch, pwrite_all
from .direct import PAGE, DirectWriter, read_direct
from .segments import Reservation

#: Objects begin at multiples of this: blocks of file systems, so that holes free what they cover.
ALIGNMENT: Final = PAGE

_SYNC_AND_WAIT: Final = 0x07  # SYNC_FILE_RANGE_WAIT_BEFORE | _WRITE | _WAIT_AFTER

#: Bytes in the page cache after which a writer waits for the disk.
_FLUSH: Final = 8 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Way(Enum):
    """How bytes get into a file."""

    DIRECT = "past the page cache"
    FLUSHED = "through the page cache, waiting for the disk"
    CACHED = "into the page cache, where they stay"


class ShortFile(Exception):  # noqa: N818 - the name says what happened
    """A file has fewer bytes than were written to it."""


class SegmentWriter:
    """Writes objects to segments in a directory, one file at a time.

    The views that are written have to stay as they are until the `with` block has ended.

    Args:
        directory: where the segments are.
        way: how they are written.
    """

    def __init__(self, directory: Path, way: Way) -> None:
        self._directory = directory
        self._way = way
        self._segment = -1
        self._fd = -1
        self._output: DirectWriter | _FlushedWriter | _CachedWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            self._output = None  # it is all given up
        self._close()

    def at(self, room: Reservation) -> Callable[[memoryview], None]:
        """What writes the next bytes of the object that has this room."""
        if room.segment != self._segment:
            self._close()
            path = segment_path(self._directory, room.segment)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            direct = os.O_DIRECT if self._way is Way.DIRECT else 0
            self._fd = os.open(path, flags | direct, 0o600)
            self._segment = room.segment
            self._output = _WRITERS[self._way](self._fd)
        assert self._output is not None
        output = self._output
        offset = room.offset

        def write(piece: memoryview) -> None:
            nonlocal offset
            output.write(offset, piece)
            offset += len(piece)

        return write

    def _close(self) -> None:
        if self._fd < 0:
            return
        try:
            if self._output is not None:
                self._output.flush()
        finally:
            fd, self._fd = self._fd, -1
            os.close(fd)  # where a network file system reports what it could not write


class _FlushedWriter:
    """Writes a file through the page cache, in which not much of it stays.

    Writing waits for the disk, again and again: to use the same pages again is also faster than to
    dirty ever more of them.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        #: What is in the page cache still: [start, end) of the file.
        self._start = self._end = 0

    def write(self, offset: int, piece: memoryview) -> None:
        """Write a piece."""
        if self._start == self._end:
            self._start = offset
        pwrite_all(self._fd, [piece], offset)
        self._end = offset + len(piece)
        if self._end - self._start >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Wait until the disk has the bytes, and forget them; errors of the disk appear here."""
        start, size = self._start, self._end - self._start
        if size == 0:
            return  # a length of 0 would mean the whole file below
        if _sync_file_range(self._fd, start, size, _SYNC_AND_WAIT):
            number = ctypes.get_errno()
            if number not in (errno.EINVAL, errno.ENOSYS, errno.ESPIPE):  # it is not known there
                raise OSError(number, os.strerror(number))
        os.posix_fadvise(self._fd, start, size, os.POSIX_FADV_DONTNEED)
        self._start = self._end


class _CachedWriter:
    """Writes a file into the page cache; the kernel gives it to the disk when it likes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, offset: int, piece: memoryview) -> None:
        """Write a piece."""
        pwrite_all(self._fd, [piece], offset)

    def flush(self) -> None:
        """Do nothing."""


_WRITERS: Final[Mapping[Way, Callable[[int], DirectWriter | _FlushedWriter | _CachedWriter]]] = {
    Way.DIRECT: DirectWriter,
    Way.FLUSHED: _FlushedWriter,
    Way.CACHED: _CachedWriter,
}


def segment_path(directory: Path, number: int) -> str:
    """The file of a segment."""
    return f"{directory}/segment-{number}"


@contextlib.contextmanager
def reader(
    path: str, offset: int, *, past_cache: bool = False
) -> Iterator[tuple[int, Callable[[memoryview], None]]]:
    """An open file, and what fills a view with the next bytes from `offset` on.

    Args:
        path: the file.
        offset: where in it to begin.
        past_cache: read past the page cache; `offset` begins a page, and so does every read, into
            views that are `is_aligned`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if past_cache else 0))
    fill = read_direct if past_cache else _read

    def read(view: memoryview) -> None:
        nonlocal offset
        if fill(fd, offset, view) < len(view):
            raise ShortFile(f"its file ends after {os.fstat(fd).st_size} bytes")
        offset += len(view)

    try:
        yield fd, read
    finally:
        os.close(fd)


def _read(fd: int, offset: int, view: memoryview) -> int:
    """Fill a view; return how many bytes the file had for it."""
    done = 0
    while done < len(view) and (count := os.preadv(fd, [view[done:]], offset + done)):
        done += count
    return done


def can_punch(directory: Path) -> bool:
    """Whether the file system of a directory knows holes."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(2 * ALIGNMENT))
        file.flush()
        try:
            punch(file.fileno(), 0, ALIGNMENT)
        except OSError:
            return False
    return True
