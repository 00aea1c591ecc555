"""Segment files: writing past the page cache, and reading.

Which object is where is not known here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

from ..fileio import punch, pwrite_all
from .segments import Reservation

#: Objects begin at multiples of this: blocks of file systems, so that holes free what they cover.
ALIGNMENT: Final = 4096

_SYNC_AND_WAIT: Final = 0x07  # SYNC_FILE_RANGE_WAIT_BEFORE | _WRITE | _WAIT_AFTER

#: Bytes after which a writer waits for the disk.
_FLUSH: Final = 8 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class ShortFile(Exception):  # noqa: N818 - the name says what happened
    """A file has fewer bytes than were written to it."""


class SegmentWriter:
    """Writes objects to segments in a directory, one file at a time, past the page cache.

    What is written is brought to the disk at once and dropped from the page cache: it left memory
    to make room there, and reusing the same pages is faster than dirtying ever more of them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segment = -1
        self._fd = -1
        #: What is in the page cache still: [start, end) of the file.
        self._start = self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            self._start = self._end  # it is all given up
        self._close()

    def at(self, room: Reservation) -> Callable[[memoryview], None]:
        """What writes the next bytes of the object that has this room."""
        if room.segment != self._segment:
            self._close()
            path = segment_path(self._directory, room.segment)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(path, flags, 0o600)
            self._segment = room.segment
            self._start = self._end = room.offset
        offset = room.offset

        def write(piece: memoryview) -> None:
            nonlocal offset
            pwrite_all(self._fd, [piece], offset)
            offset += len(piece)
            self._end = offset
            if self._end - self._start >= _FLUSH:
                self._flush()

        return write

    def _flush(self) -> None:
        """Wait until the disk has the bytes, and forget them; errors of the disk appear here."""
        start, size = self._start, self._end - self._start
        if size and _sync_file_range(self._fd, start, size, _SYNC_AND_WAIT):
            number = ctypes.get_errno()
            if number not in (errno.EINVAL, errno.ENOSYS, errno.ESPIPE):  # it is not known there
                raise OSError(number, os.strerror(number))
        os.posix_fadvise(self._fd, start, size, os.POSIX_FADV_DONTNEED)
        self._start = self._end

    def _close(self) -> None:
        if self._fd < 0:
            return
        try:
            self._flush()
        finally:
            fd, self._fd = self._fd, -1
            os.close(fd)  # where a network file system reports what it could not write


def segment_path(directory: Path, number: int) -> str:
    """The file of a segment."""
    return f"{directory}/segment-{number}"


@contextlib.contextmanager
def reader(path: str, offset: int) -> Iterator[tuple[int, Callable[[memoryview], None]]]:
    """An open file, and what fills a view with the next bytes from `offset` on."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(view: memoryview) -> None:
        nonlocal offset
        done = 0
        while done < len(view):
            count = os.preadv(fd, [view[done:]], offset)
            if count == 0:
                raise ShortFile(f"its file ends after {os.fstat(fd).st_size} bytes")
            done += count
            offset += count

    try:
        yield fd, read
    finally:
        os.close(fd)


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
