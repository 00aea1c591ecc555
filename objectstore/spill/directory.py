"""A private directory for spill files: made safely, locked while its node lives, swept after it.

What the files in it hold is not known here.
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
from typing import Final

from ..fileio import is_full

#: Bytes that a check wants to be able to write.
_PROBE_SIZE: Final = 1 << 20

#: Seconds after which a private directory is certainly locked, if its node lives.
_SWEEP_AGE: Final = 60.0

#: The floor is this part of the disk unless one is given, but not more than so many bytes.
_FLOOR_PART: Final = 0.01
_FLOOR_MOST: Final = 100_000_000


class SpillDirectory:
    """A private directory inside `parent`.

    The private directory has mode 0700 and an unpredictable name, and is locked while its node
    lives. Those of nodes on this machine that were killed are removed when the next one starts.

    Args:
        parent: the directory that the user gave.
        floor: bytes of its disk that are to stay free; None: 1 % of it, at most 100 MB.

    Raises:
        OSError: `parent` does not exist (`FileNotFoundError`), is no directory
            (`NotADirectoryError`), cannot be written (`PermissionError`) or is full
            (`errno.ENOSPC`); the text says which and where.
    """

    def __init__(self, parent: str | os.PathLike[str], floor: int | None = None) -> None:
        self._floor = floor
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

    def admit(self, size: int) -> None:
        """Check that so many bytes may be written: that many are free above the floor.

        Raises:
            OSError: they may not be (`errno.ENOSPC`, with the numbers), or the file system does
                not answer.
        """
        found = os.statvfs(self.directory)
        total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        floor = self._floor
        if floor is None:
            floor = min(int(total * _FLOOR_PART), _FLOOR_MOST)
        if size > free - floor:
            text = (
                f"the spill directory is full: {free} of {total} bytes are free there, of which "
                f"{floor} are to stay free, and {size} are needed"
            )
            raise _error(errno.ENOSPC, text, self.parent)

    def check(self) -> None:
        """Reserve a little space and give it back.

        Raises:
            OSError: files cannot be written there now; `is_full` tells whether the disk is full.
        """
        try:
            self.admit(_PROBE_SIZE)
            fd, probe = tempfile.mkstemp(dir=self.directory)
            try:
                os.posix_fallocate(fd, 0, _PROBE_SIZE)
            finally:
                os.close(fd)
                Path(probe).unlink()
        except OSError as error:
            number = error.errno or errno.EIO
            if not is_full(error):
                text = f"the spill directory cannot be written ({os.strerror(number)})"
                raise _error(number, text, self.parent) from error
            if error.filename == str(self.parent):
                raise
            free = shutil.disk_usage(self.directory).free
            text = f"the spill directory is full: {free} bytes are free there"
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
