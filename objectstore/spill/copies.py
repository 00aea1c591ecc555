"""Copies of objects in local files, for readers who map what cannot be mapped where it is kept."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .storage import FileExtent

#: The bytes of copies that are kept; the oldest go first. Who has mapped one keeps its bytes.
_MOST: Final = 1 << 30


class Copies:
    """Whole objects in files of their own, made when they are asked for; those used last stay."""

    def __init__(self, directory: Path, most: int = _MOST) -> None:
        self._directory = directory
        self._most = most
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._files: OrderedDict[bytes, FileExtent] = OrderedDict()
        self._bytes = 0

    def get(self, oid: bytes, size: int, fill: Callable[[memoryview], None]) -> FileExtent:
        """The copy of an object; `fill` writes its bytes if there is none yet.

        Raises:
            OSError: it cannot be read or written.
        """
        with self._lock:
            known = self._files.get(oid)
            if known is not None and _is_whole(known):
                self._files.move_to_end(oid)
                return known
        path = self._directory / f"copy-{next(self._numbers)}"
        try:
            _make(path, size, fill)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        copy = FileExtent(str(path), 0, size)
        with self._lock:
            self._remove(oid)  # another thread may have been as fast
            self._files[oid] = copy
            self._bytes += size
            while self._bytes > self._most and len(self._files) > 1:
                self._remove(next(iter(self._files)))
        return copy

    def discard(self, oid: bytes) -> None:
        """Remove the copy of an object if there is one."""
        with self._lock:
            self._remove(oid)

    def _remove(self, oid: bytes) -> None:
        known = self._files.pop(oid, None)
        if known is not None:
            self._bytes -= known.size
            with contextlib.suppress(OSError):
                Path(known.path).unlink()


def _is_whole(copy: FileExtent) -> bool:
    """Whether nobody removed a copy or cut it short."""
    try:
        return Path(copy.path).stat().st_size == copy.size
    except OSError:
        return False


def _make(path: Path, size: int, fill: Callable[[memoryview], None]) -> None:
    """Make a file and fill it through a mapping; its blocks exist first, so no fault can fail."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if size:
            os.posix_fallocate(fd, 0, size)
            fill(memoryview(mmap.mmap(fd, size)))
    finally:
        os.close(fd)
