"""Frames: a 4-byte little-endian length, then one msgpack message. Sans-IO.

Covers cutting a byte stream into messages. Does not cover sockets (``connection``) nor the
meaning of messages (``messages``).
"""

from __future__ import annotations

import logging
import struct
from typing import Any

import msgspec

from ..errors import ProtocolError
from .messages import Message, Routed

__all__ = [
    "MAX_FRAME_BYTES",
    "FrameDecoder",
    "decode_message",
    "decode_routed",
    "encode_frame",
    "encode_message",
]

_log = logging.getLogger("millpond.wire")

#: A longer frame closes the connection: nothing the engine sends comes near it.
MAX_FRAME_BYTES = 1 << 30

_HEADER = struct.Struct("<I")
_HEADER_BYTES = _HEADER.size
_unpack_header = _HEADER.unpack_from
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Message)
_decode = _decoder.decode


def encode_frame(message: msgspec.Struct) -> bytearray:
    """Return the bytes of one message, header included."""
    frame = bytearray(4)
    _encoder.encode_into(message, frame, 4)
    size = len(frame) - 4
    if size > MAX_FRAME_BYTES:
        raise ProtocolError(
            f"a {type(message).__name__} message of {size} bytes is larger than the frame limit "
            f"of {MAX_FRAME_BYTES} bytes; pass large values through millpond.put"
        )
    _HEADER.pack_into(frame, 0, size)
    return frame


def encode_message(message: msgspec.Struct) -> bytes:
    """Return the bytes of one message, without a header."""
    return _encoder.encode(message)


def decode_message(body: bytes | memoryview) -> Any:
    """Return the message that is encoded in ``body``.

    Raises:
        ProtocolError: the bytes are not a message.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a frame of {len(body)} bytes does not decode: {error}") from None


def decode_routed(message: Routed) -> Any:
    """Return the message inside another one; None, with a warning, where that does not decode."""
    try:
        return decode_message(message.body)
    except ProtocolError as error:
        _log.warning("ignoring a message of %s: %s", message.sender.hex(), error)
        return None


class FrameDecoder:
    """Cuts the bytes of one connection into messages, keeping what is incomplete."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes | memoryview) -> list[Any]:
        """Return the messages completed by ``data``.

        Raises:
            ProtocolError: the bytes are not a message; the connection cannot go on.
        """
        messages: list[Any] = []
        pending = self._pending
        if not pending:  # most often: whole messages, which need not be copied
            with memoryview(data) as view:
                used = _decode_frames(view, messages)
                if used < len(view):
                    pending += view[used:]
            return messages
        pending += data
        with memoryview(pending) as view:
            used = _decode_frames(view, messages)
        if used:
            del pending[:used]
        return messages


def _decode_frames(view: memoryview, messages: list[Any]) -> int:
    """Decode the whole frames that ``view`` begins with; return how many bytes they take."""
    available = len(view)
    start = 0
    while available - start >= _HEADER_BYTES:
        (size,) = _unpack_header(view, start)
        if size > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame claims {size} bytes, the limit is {MAX_FRAME_BYTES}")
        body = start + _HEADER_BYTES
        end = body + size
        if end > available:
            break
        messages.append(decode_message(view[body:end]))
        start = end
    return start
