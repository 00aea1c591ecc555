"""Writing and reading files past the page cache, straight between the disk and memory.

What is spilled left memory to make room there: a copy of it in the page cache would take the room
again, and cost the time to make it. But the kernel wants offsets and lengths in whole pages then,
and addresses at multiples of a sector. So what begins a page of the file and lies well in memory
goes as it is, and the rest (small objects, ends of large ones) through some pages of our own. All
of it is given to the disk in few calls.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import threading
from pathlib import Path
from typing import Final

from ..copying import address_of
from ..fileio import pwrite_all

#: Offsets and lengths are multiples of this many bytes.
PAGE: Final = 4096

#: Addresses are multiples of this many bytes.
SECTOR: Final = 512

#: Bytes that are given to the disk at once.
_FLUSH: Final = 8 << 20

#: Bytes of a writer's own pages.
_STAGING: Final = 4 << 20

#: Pieces of fewer bytes are copied: to give them to the kernel one by one costs more.
_WHOLE: Final = 128 << 10

_threads = threading.local()


class DirectWriter:
    """Writes pieces, in the order in which they lie in a file, through a descriptor with O_DIRECT.

    The pieces have to stay as they are until `flush` returns. What lies between two pieces in the
    same page becomes zeros. Only one writer of a thread may be in use at a time.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pages = _own_pages()
        #: [start, end) of the file is in `_ready`, and after that in [taken, filled) of the pages.
        self._start = self._end = 0
        self._ready: list[memoryview] = []
        self._taken = self._filled = 0

    def write(self, offset: int, piece: memoryview) -> None:
        """Write a piece, which goes on where the last one ended or begins a page.

        Raises:
            OSError: something could not be written, of this piece or of one before.
        """
        if offset != self._end:
            self._end_page()
            if offset != self._end:
                self.flush()
                self._start = self._end = offset
        if self._end % PAGE == 0 and len(piece) >= _WHOLE and is_aligned(piece):
            self._take_pages()
            whole = len(piece) & -PAGE
            self._ready.append(piece[:whole])
            self._end += whole
            piece = piece[whole:]
        while len(piece):
            piece = piece[self._copy(piece) :]
        if self._end - self._start >= _FLUSH and self._end % PAGE == 0:
            self.flush()

    def flush(self) -> None:
        """Give everything to the disk.

        Raises:
            OSError: it could not be written.
        """
        self._end_page()
        self._take_pages()
        ready, start = self._ready, self._start
        self._ready, self._start = [], self._end
        self._taken = self._filled = 0
        pwrite_all(self._fd, ready, start)

    def _copy(self, piece: memoryview) -> int:
        """Copy what fits of a piece to the pages, and flush them when they are full."""
        count = min(len(piece), _STAGING - self._filled)
        with address_of(piece) as source:
            ctypes.memmove(self._pages.address + self._filled, source, count)
        self._filled += count
        self._end += count
        if self._filled == _STAGING:
            self.flush()
        return count

    def _end_page(self) -> None:
        """Fill what is left of the last page."""
        rest = -self._end % PAGE
        self._pages.view[self._filled : self._filled + rest] = bytes(rest)
        self._filled += rest
        self._end += rest

    def _take_pages(self) -> None:
        """Let what was copied be written before what follows."""
        if self._filled > self._taken:
            self._ready.append(self._pages.view[self._taken : self._filled])
            self._taken = self._filled


def read_direct(fd: int, offset: int, view: memoryview) -> int:
    """Fill a view from `offset` on, which begins a page; return how many bytes the file had.

    Raises:
        OSError: the system call failed, with `errno.EINVAL` when the view is not `is_aligned`.
    """
    whole = len(view) & -PAGE
    last = _own_pages().view[: PAGE if whole < len(view) else 0]
    done = 0
    while done < len(view):
        parts = [part for part in (view[done:whole], last) if len(part)]
        count = os.preadv(fd, parts, offset + done)
        done += count
        if done > whole:
            done = min(done, len(view))
            view[whole:done] = last[: done - whole]
        if count == 0 or done % PAGE:
            break
    return done


def is_aligned(view: memoryview) -> bool:
    """Whether a view lies in memory so that the kernel takes it as it is."""
    with address_of(view) as address:
        return address % SECTOR == 0


def can_bypass_cache(directory: Path) -> bool:
    """Whether files in a directory can be written and read past the page cache."""
    fd, path = tempfile.mkstemp(dir=directory)
    os.close(fd)
    page = memoryview(mmap.mmap(-1, 2 * PAGE))[SECTOR : SECTOR + PAGE]
    try:
        fd = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        try:
            return os.pwrite(fd, page, 0) == os.preadv(fd, [page], 0) == PAGE
        finally:
            os.close(fd)
    except OSError:
        return False
    finally:
        Path(path).unlink()


class _Pages:
    """A thread's own pages."""

    def __init__(self) -> None:
        self.view = memoryview(mmap.mmap(-1, _STAGING))
        with address_of(self.view) as address:
            self.address = address  # it stays: the view keeps the mapping from being closed


def _own_pages() -> _Pages:
    pages: _Pages | None = getattr(_threads, "pages", None)
    if pages is None:
        pages = _threads.pages = _Pages()
    return pages
