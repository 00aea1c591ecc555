"""Objects with a file of their own, which another process than the node writes.

The bytes are followed by a checksum of each chunk of them, so that the file says itself whether it
is whole: what is missing, cut short or changed is noticed by whoever looks before it is mapped.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import xxhash

from ..fileio import byte_views, draft_path, write_file
from .encoding import CHUNK, Codec, Encoded, verify
from .segment_files import ShortFile, reader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Bytes of a checksum, the most significant one first.
_DIGEST: Final = 8


def file_size(size: int) -> int:
    """Bytes of the file of an object of `size` bytes."""
    return size + _DIGEST * -(-size // CHUNK)


def write_checked(path: str | os.PathLike[str], parts: Sequence[ReadableBuffer]) -> None:
    """Write an object's file, which is complete as soon as it can be seen under its name.

    Raises:
        OSError: it could not be written, and nothing is left; `is_full` tells if the disk is full.
        TypeError: a part is not a contiguous buffer.
    """
    views = byte_views(parts)
    write_file(path, [*views, b"".join(_digests(views))])


class CheckedDraft:
    """An object's file that is filled piece by piece, and complete when it is finished.

    Args:
        path: where it will be.
        size: bytes of the object.

    Raises:
        OSError: there is no room for it, and nothing is left.
    """

    def __init__(self, path: str | os.PathLike[str], size: int) -> None:
        self._path = Path(path)
        self._draft = draft_path(self._path)
        self._size = size
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._draft, flags, 0o600)
        #: the object's bytes, to be filled
        self.view = memoryview(bytearray())
        try:
            if size:
                # The blocks are taken now: to touch a page that has none would end the process.
                os.posix_fallocate(self._fd, 0, file_size(size))
                self.view = memoryview(mmap.mmap(self._fd, file_size(size)))[:size]
        except BaseException:
            self.discard()
            raise

    def finish(self) -> None:
        """Add the checksums, and let the file be seen.

        Raises:
            OSError: it could not be written, and nothing is left.
        """
        try:
            digests = b"".join(_digests([self.view] if self._size else []))
            os.pwrite(self._fd, digests, self._size)
            self._draft.rename(self._path)
        except BaseException:
            self.discard()
            raise
        self._close()

    def discard(self) -> None:
        """Remove what there is."""
        self._draft.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        self.view = memoryview(bytearray())  # the last reference to the mapping
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def check_file(path: str, size: int, target: memoryview | None = None) -> None:
    """Read an object's file from end to end.

    Args:
        path: the file.
        size: bytes of the object.
        target: what to fill with its bytes, if anything.

    Raises:
        ChecksumMismatch: the bytes are not those that were written.
        OSError: it cannot be read.
        ShortFile: it does not have as many bytes as were written.
    """
    with reader(path, 0) as (fd, read), reader(path, size) as (_, read_digests):
        found = os.fstat(fd).st_size
        if found != file_size(size):
            raise ShortFile(f"its file has {found} bytes instead of {file_size(size)}")
        digests = memoryview(bytearray(file_size(size) - size))
        read_digests(digests)
        chunks = tuple(
            (min(CHUNK, size - start), int.from_bytes(digests[at : at + _DIGEST], "big"))
            for start, at in zip(
                range(0, size, CHUNK), range(0, len(digests), _DIGEST), strict=True
            )
        )
        encoded = Encoded(size, size, chunks)
        if target is None:
            verify(encoded, read)
        else:
            Codec(None).decode(encoded, target[:size], read)


def _digests(views: Sequence[memoryview]) -> Iterator[bytes]:
    """The checksum of each chunk of views that are laid end to end."""
    hasher = xxhash.xxh3_64()
    room = CHUNK
    for view in views:
        start = 0
        while start < len(view):
            piece = view[start : start + room]
            hasher.update(piece)
            start += len(piece)
            room -= len(piece)
            if room == 0:
                yield hasher.digest()
                hasher.reset()
                room = CHUNK
    if room < CHUNK:
        yield hasher.digest()
