"""How an object's bytes are written down: in chunks, perhaps compressed, each with a checksum.

Chunks bound the memory that compression takes, and each is kept as it is when compression does not
make it smaller. The checksum (XXH3, 64 bits: six times as fast as zlib's CRC-32, ten times as fast
as a good disk) covers the bytes as they are written, so nothing that is corrupt reaches a
decompressor. Where the bytes go is not known here.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import xxhash

from ..copying import address_of
from .storage import Compression

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes of an object that are compressed, checked and moved at once.
CHUNK: Final = 8 << 20

#: A compressed chunk is kept if it has at most this part of the bytes.
_WORTH_IT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Encoded:
    """What has to be remembered of an object to read it back."""

    size: int
    """Bytes of the object."""
    stored: int
    """Bytes that were written."""
    chunks: tuple[tuple[int, int], ...]
    """(bytes, checksum) of each chunk as it was written."""

    @property
    def is_plain(self) -> bool:
        """Whether the bytes that were written are those of the object."""
        return self.stored == self.size


class ChecksumMismatch(Exception):  # noqa: N818 - the name says what happened
    """The bytes that were read are not those that were written."""


class Codec:
    """Writes objects down and reads them back, from any number of threads.

    Args:
        compression: "lz4" or "zstd" (both of Arrow, with the GIL released), or None.
    """

    def __init__(self, compression: str | None) -> None:
        self._compression = cast("Compression | None", compression)
        self._codecs = threading.local()  # nothing says that one may be shared

    def encode(self, view: memoryview, write: Callable[[memoryview], object]) -> Encoded:
        """Give all of an object's bytes to `write`, piece by piece."""
        chunks: list[tuple[int, int]] = []
        for start in range(0, len(view), CHUNK):
            piece = self._compressed(view[start : start + CHUNK])
            chunks.append((len(piece), xxhash.xxh3_64_intdigest(piece)))
            write(piece)
        return Encoded(len(view), sum(size for size, _ in chunks), tuple(chunks))

    def decode(
        self, encoded: Encoded, view: memoryview, read: Callable[[memoryview], None]
    ) -> None:
        """Fill a view with an object's bytes; `read` fills what it is given with the next of them.

        Raises:
            ChecksumMismatch: the bytes are not those that were written.
        """
        scratch = None if encoded.is_plain else memoryview(bytearray(min(CHUNK, encoded.stored)))
        for index, (size, checksum) in enumerate(encoded.chunks):
            target = view[index * CHUNK : (index + 1) * CHUNK]
            if size == len(target):
                read(target)
                _check(target, checksum, index)
                continue
            assert scratch is not None
            piece = scratch[:size]
            read(piece)
            _check(piece, checksum, index)
            self._decompress(piece, target)

    def _compressed(self, chunk: memoryview) -> memoryview:
        if self._compression is None:
            return chunk
        compressed = memoryview(self._codec().compress(chunk)).cast("B")
        return compressed if len(compressed) <= len(chunk) * _WORTH_IT else chunk

    def _decompress(self, piece: memoryview, target: memoryview) -> None:
        content = self._codec().decompress(piece, decompressed_size=len(target))
        with address_of(target) as destination:
            ctypes.memmove(destination, content.address, len(target))

    def _codec(self) -> pa.Codec:
        codec: pa.Codec | None = getattr(self._codecs, "codec", None)
        if codec is None:
            import pyarrow as pa  # takes 100 ms, and most sessions never compress

            assert self._compression is not None
            codec = self._codecs.codec = pa.Codec(self._compression)
        return codec


def verify(encoded: Encoded, read: Callable[[memoryview], None]) -> None:
    """Check the bytes of an object; `read` fills what it is given with the next of them.

    Raises:
        ChecksumMismatch: the bytes are not those that were written.
    """
    scratch = memoryview(bytearray(min(CHUNK, encoded.stored)))
    for index, (size, checksum) in enumerate(encoded.chunks):
        read(scratch[:size])
        _check(scratch[:size], checksum, index)


def _check(piece: memoryview, expected: int, index: int) -> None:
    found = xxhash.xxh3_64_intdigest(piece)
    if found != expected:
        text = f"chunk {index} has the checksum {found:016x}, written was {expected:016x}"
        raise ChecksumMismatch(text)
