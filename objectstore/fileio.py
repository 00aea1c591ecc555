"""Whole files of bytes: written completely or not at all, read into memory that exists, or mapped.

Nothing here knows of objects or of the store.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import ReadableBuffer

#: The most buffers that one system call takes.
_IOV_MAX: Final = min(os.sysconf("SC_IOV_MAX"), 1024) if "SC_IOV_MAX" in os.sysconf_names else 16

#: The most bytes that one system call is asked to move; Linux moves at most just under 2 GiB.
_CALL_MAX: Final = 1 << 30

_PUNCH_HOLE: Final = 0x02  # FALLOC_FL_PUNCH_HOLE
_KEEP_SIZE: Final = 0x01  # FALLOC_FL_KEEP_SIZE
_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def byte_views(parts: Sequence[ReadableBuffer]) -> list[memoryview]:
    """One view of single bytes for each part that is not empty.

    Raises:
        TypeError: a part is not a buffer, or not contiguous in C order.
    """
    views = [memoryview(part) for part in parts]
    return [view.cast("B") for view in views if view.nbytes]


def pwrite_all(fd: int, views: Sequence[memoryview], offset: int) -> None:
    """Write byte views one after the other at `offset`, without the GIL.

    Raises:
        OSError: the system call failed; some of the bytes may have been written.
    """
    rest = list(reversed(views))  # the next one is at the end, where taking it is cheap
    while rest:
        batch: list[memoryview] = []
        asked = 0
        while rest and len(batch) < _IOV_MAX and asked < _CALL_MAX:
            view = rest.pop()
            if len(view) > _CALL_MAX - asked:
                rest.append(view[_CALL_MAX - asked :])
                view = view[: _CALL_MAX - asked]
            batch.append(view)
            asked += len(view)
        done = os.pwritev(fd, batch, offset)
        offset += done
        if done < asked:
            rest.extend(reversed(_skip(batch, done)))


def draft_path(path: Path) -> Path:
    """Where `write_file` writes until the file is complete; a killed writer leaves this."""
    return path.with_name(f".{path.name}.draft")


def write_file(path: str | os.PathLike[str], parts: Sequence[ReadableBuffer]) -> None:
    """Write a file of mode 0600 that is complete as soon as it can be seen under its name.

    Raises:
        OSError: it could not be written, and nothing is left; `is_full` tells if the disk is full.
        TypeError: a part is not a contiguous buffer.
    """
    views = byte_views(parts)
    target = Path(path)
    draft = draft_path(target)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            pwrite_all(fd, views, 0)
        finally:
            os.close(fd)  # where a network file system reports what it could not write
        draft.rename(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def map_file(
    path: str | os.PathLike[str], size: int, pin: object = None, offset: int = 0
) -> pa.Buffer:
    """A read-only buffer over `size` bytes of a file, which may be deleted meanwhile.

    The buffer, and whatever is built over it, keeps the mapping and `pin` alive.

    Args:
        path: the file.
        size: bytes of the buffer.
        pin: what to keep alive.
        offset: where in the file it starts; any number of bytes.

    Raises:
        OSError: it could not be opened or mapped, or ends before the buffer does (`errno.EIO`).
    """
    import pyarrow as pa  # takes 100 ms, and many processes never read a large value

    if size == 0:
        content, skipped = pa.py_buffer(b""), 0
    else:
        skipped = offset % mmap.ALLOCATIONGRANULARITY
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd).st_size
            if found < offset + size:
                text = f"the file has {found} bytes instead of {offset + size}"
                raise OSError(errno.EIO, text, os.fspath(path))
            content = pa.py_buffer(
                mmap.mmap(
                    fd, skipped + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset - skipped
                )
            )
        finally:
            os.close(fd)
    return pa.foreign_buffer(content.address + skipped, size, base=(content, pin))


def punch(fd: int, offset: int, size: int) -> None:
    """Give the blocks of a range back to the file system; the file's size stays.

    Raises:
        OSError: the file system cannot.
    """
    if _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, size):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_full(error: OSError) -> bool:
    """Whether an error says that a disk, or the user's share of it, is full."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def _skip(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """The views without their first `count` bytes."""
    for index, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[index + 1 :]]
        count -= len(view)
    return []
