"""The byte layout of a serialized value, inline and in the store alike.

    u32 number of buffers | u32 zero | u64 length of the pickle
    (u64 offset, u64 length) for each buffer
    the pickle, then each buffer at a multiple of 64 bytes

Pickle protocol 5 puts large contiguous data (numpy, pandas, arrow) out of band, so a reader
maps the buffers where they are and copies nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["SerializedValue", "split"]

_HEAD = struct.Struct("<IIQ")
_ENTRY = struct.Struct("<QQ")
_ALIGNMENT = 64
_PADDING = bytes(_ALIGNMENT)


def _aligned(offset: int) -> int:
    return (offset + _ALIGNMENT - 1) & -_ALIGNMENT


class SerializedValue:
    """A pickle with its out-of-band buffers, not yet laid out in memory.

    ``size`` is the number of bytes it takes; ``contained`` the refs found inside.
    """

    __slots__ = ("_buffers", "_offsets", "_pickle", "contained", "size")

    def __init__(
        self, pickle: bytes | memoryview, buffers: Sequence[memoryview], contained: Sequence[Any]
    ) -> None:
        self._pickle = pickle
        self._buffers = buffers
        self.contained = contained
        position = _HEAD.size + _ENTRY.size * len(buffers) + len(pickle)
        self._offsets = []
        for buffer in buffers:
            position = _aligned(position)
            self._offsets.append(position)
            position += buffer.nbytes
        self.size = position

    def parts(self) -> list[bytes | memoryview]:
        """Return the pieces that, one after the other, are the value's bytes."""
        head = bytearray(_HEAD.pack(len(self._buffers), 0, len(self._pickle)))
        for offset, buffer in zip(self._offsets, self._buffers, strict=True):
            head += _ENTRY.pack(offset, buffer.nbytes)
        parts: list[bytes | memoryview] = [bytes(head), self._pickle]
        position = len(head) + len(self._pickle)
        for offset, buffer in zip(self._offsets, self._buffers, strict=True):
            if offset > position:
                parts.append(_PADDING[: offset - position])
            parts.append(buffer)
            position = offset + buffer.nbytes
        return parts

    def to_bytes(self) -> bytes:
        """Return the value's bytes in one piece."""
        if not self._buffers:
            return b"".join((_HEAD.pack(0, 0, len(self._pickle)), self._pickle))
        return b"".join(self.parts())


def split(data: Any) -> tuple[memoryview, list[memoryview]]:
    """Return the pickle and the buffers of a laid-out value, without copying.

    Args:
        data: any object with the buffer protocol, for example a pinned store buffer.
    """
    view = memoryview(data)
    count, _, length = _HEAD.unpack_from(view, 0)
    if not count:
        return view[_HEAD.size : _HEAD.size + length], []
    start = _HEAD.size + _ENTRY.size * count
    buffers = []
    for index in range(count):
        offset, size = _ENTRY.unpack_from(view, _HEAD.size + _ENTRY.size * index)
        buffers.append(view[offset : offset + size])
    return view[start : start + length], buffers
