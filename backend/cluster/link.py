"""One link: frames out in batches, messages in, over a bidirectional stream of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from ..wire.framing import FrameDecoder, encode_frame

__all__ = ["MAX_BATCH_BYTES", "Link"]

#: More is sent as several messages of the stream; frames are cut without regard to them.
MAX_BATCH_BYTES: Final = 1 << 20
#: seconds that the other side gets to end the stream once we have
_LAST_WORDS: Final = 1.0


class Link:
    """The stream between two nodes, on one of its sides.

    Args:
        read: returns the next bytes, empty at the end; raises when the stream breaks.
        write: sends bytes.
        end: says that nothing more will be written; None where the end of `run` does.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        write: Callable[[bytes], Awaitable[Any]],
        end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._read = read
        self._write = write
        self._end = end
        self._decoder = FrameDecoder()
        self._out = bytearray()
        self._wake = asyncio.Event()
        self._closing = False

    def send(self, message: msgspec.Struct) -> None:
        """Send a message, with others that are sent before the loop turns."""
        self._out += encode_frame(message)
        self._wake.set()

    def close(self) -> None:
        """End the link once what was sent is on its way."""
        self._closing = True
        self._wake.set()

    async def run(self, on_message: Callable[[Any], None]) -> None:
        """Serve the link until it ends.

        Raises:
            ProtocolError: the other side sent something that is no message.
            Exception: whatever ``read`` raised because the stream broke.
        """
        reading = asyncio.create_task(self._receive(on_message))
        writing = asyncio.create_task(self._transmit())
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and (self._end is not None or not self._closing):
                # The stream broke, or the other side is to end it: its last words may follow.
                await asyncio.wait((reading,), timeout=_LAST_WORDS)
        finally:
            writing.cancel()
            reading.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
        if not reading.cancelled():
            reading.result()

    async def _receive(self, on_message: Callable[[Any], None]) -> None:
        while data := await self._read():
            for message in self._decoder.feed(data):
                on_message(message)

    async def _transmit(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            out, self._out = self._out, bytearray()
            with memoryview(out) as view:
                for start in range(0, len(out), MAX_BATCH_BYTES):
                    await self._write(bytes(view[start : start + MAX_BATCH_BYTES]))
            if self._closing and not self._out:
                if self._end is not None:
                    with contextlib.suppress(Exception):  # it ended already
                        await self._end()
                return
