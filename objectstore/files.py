"""Where spilled objects are kept: the `Storage` protocol, and the one of local files.

It covers the place and the names of the files. It does *not* decide what is spilled, and does not
order its calls: the caller runs those of one object one after the other (any thread will do).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final, Protocol

from .fileio import draft_path, is_full, read_file, write_file

#: Bytes that a check wants to be able to write.
_PROBE_SIZE: Final = 1 << 20

#: Seconds after which a private directory is certainly locked, if its node lives.
_SWEEP_AGE: Final = 60.0


class Storage(Protocol):
    """Keeps the bytes of objects outside memory. Its methods may be called from several threads."""

    def write(self, oid: bytes, view: memoryview) -> None:
        """Keep an object's bytes; when it fails nothing is kept. `OSError` tells why."""

    def read_into(self, oid: bytes, view: memoryview) -> None:
        """Fill the view with an object's bytes. `OSError` when they are gone or unreadable."""

    def path(self, oid: bytes) -> Path:
        """The local file of an object, which other processes may map, or write for the storage."""

    def delete(self, oid: bytes) -> None:
        """Forget an object, known or not."""

    def check(self) -> None:
        """Raise `OSError` when nothing could be written now."""

    def close(self) -> None:
        """Remove everything that this storage keeps."""


class SpillDirectory:
    """Files in a private directory of its own inside `parent`.

    The private directory has mode 0700 and an unpredictable name, and is locked while its node
    lives. Those of nodes on this machine that were killed are removed when the next one starts.

    Raises:
        OSError: `parent` does not exist (`FileNotFoundError`), is no directory
            (`NotADirectoryError`), cannot be written (`PermissionError`) or is full
            (`errno.ENOSPC`); the text says which and where.
    """

    def __init__(self, parent: str | os.PathLike[str]) -> None:
        self.parent = Path(parent).absolute()
        """The directory that was given."""
        if not self.parent.exists():
            raise _error(errno.ENOENT, "the spill directory does not exist", self.parent)
        if not self.parent.is_dir():
            raise _error(errno.ENOTDIR, "the spill path is not a directory", self.parent)
        prefix = f"millpond-{_boot_id()}-"
        try:
            _sweep(self.parent, prefix)
            self.directory = Path(tempfile.mkdtemp(prefix=prefix, dir=self.parent))
            """The private directory."""
            self._lock = _lock(self.directory)
        except OSError as error:
            number = error.errno or errno.EIO
            text = f"the spill directory cannot be used ({os.strerror(number)})"
            raise _error(number, text, self.parent) from error
        try:
            self.check()
        except BaseException:
            self.close()
            raise

    def write(self, oid: bytes, view: memoryview) -> None:
        """Write an object's file, completely or not at all.

        Raises:
            OSError: it could not be written; `is_full` tells whether the disk is full.
        """
        write_file(self.path(oid), [view])

    def read_into(self, oid: bytes, view: memoryview) -> None:
        """Fill the view from an object's file.

        Raises:
            OSError: the file is gone, unreadable or too short.
        """
        read_file(self.path(oid), view)

    def path(self, oid: bytes) -> Path:
        """The object's file, whether or not it exists."""
        return self.directory / oid.hex()

    def delete(self, oid: bytes) -> None:
        """Delete an object's file if there is one; those who mapped it keep their bytes."""
        path = self.path(oid)
        path.unlink(missing_ok=True)
        draft_path(path).unlink(missing_ok=True)

    def check(self) -> None:
        """Reserve a little space and give it back.

        Raises:
            OSError: files cannot be written there now; `is_full` tells whether the disk is full.
        """
        try:
            fd, probe = tempfile.mkstemp(dir=self.directory)
            try:
                os.posix_fallocate(fd, 0, _PROBE_SIZE)
            finally:
                os.close(fd)
                Path(probe).unlink()
        except OSError as error:
            number = error.errno or errno.EIO
            if is_full(error):
                free = shutil.disk_usage(self.directory).free
                text = f"the spill directory is full: {free} bytes are free there"
            else:
                text = f"the spill directory cannot be written ({os.strerror(number)})"
            raise _error(number, text, self.parent) from error

    def close(self) -> None:
        """Remove the private directory with everything in it. Closing again does nothing."""
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _error(number: int, text: str, path: Path) -> OSError:
    """The `OSError` (of the subclass that belongs to the number) with this text and path."""
    return OSError(number, text, str(path))


def _boot_id() -> str:
    """What tells this boot of this machine from others that may share a file system with it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


def _lock(directory: Path) -> int | None:
    """An open descriptor that holds the directory's lock, or None if it cannot be had."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _sweep(parent: Path, prefix: str) -> None:
    """Remove the directories of nodes that were killed: old enough to be locked, and not locked."""
    newest = time.time() - _SWEEP_AGE
    for directory in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another node sweeps too, or it is another user's
            if directory.lstat().st_mtime > newest:
                continue
            fd = _lock(directory)
            if fd is not None:
                shutil.rmtree(directory, ignore_errors=True)
                os.close(fd)
