"""One link: frames out in batches, messages in, over a bidirectional stream of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from ..errors import MillpondError
from ..wire.framing import FrameDecoder, encode_frame

__all__ = ["MAX_BATCH_BYTES", "Link", "SlowPeerError"]

#: More is sent as several messages of the stream; frames are cut without regard to them.
MAX_BATCH_BYTES: Final = 1 << 20
#: A link with more bytes to send is crowded: those who send are to wait until fewer are left.
_CROWDED: Final = 64 << 20
_FREE: Final = 16 << 20
#: With more it is ended: some must have been sent without regard to that.
_MOST: Final = 2 << 30
#: seconds that the other side gets to end the stream once we have
_LAST_WORDS: Final = 1.0


class SlowPeerError(MillpondError):
    """The other side of a link takes less than is sent."""


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
        #: bytes that were taken from there, and are being written
        self._leaving = 0
        self._when_free: list[Callable[[], None]] = []
        self._running: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closing = False

    def send(self, message: msgspec.Struct) -> None:
        """Send a message, with others that are sent before the loop turns."""
        self._out += encode_frame(message)
        self._wake.set()
        if self.unsent > _MOST and self._running is not None:
            self._running.cancel()

    @property
    def unsent(self) -> int:
        """Bytes that the other side has not taken."""
        return len(self._out) + self._leaving

    @property
    def crowded(self) -> bool:
        """Whether those who send should wait, as the other side takes less than they send."""
        return self.unsent > _CROWDED

    def when_free(self, callback: Callable[[], None]) -> None:
        """Have a function called once when most has been sent, or the link has ended."""
        self._when_free.append(callback)

    def close(self) -> None:
        """End the link once what was sent is on its way."""
        self._closing = True
        self._tell_free()
        self._wake.set()

    async def run(self, on_message: Callable[[Any], None]) -> None:
        """Serve the link until it ends.

        Raises:
            ProtocolError: the other side sent something that is no message.
            SlowPeerError: it took so little that this side had to keep too much.
            Exception: whatever ``read`` raised because the stream broke.
        """
        reading = asyncio.create_task(self._receive(on_message))
        writing = self._running = asyncio.create_task(self._transmit())
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and (self._end is not None or not self._closing):
                # The stream broke, or the other side is to end it: its last words may follow.
                await asyncio.wait((reading,), timeout=_LAST_WORDS)
        finally:
            too_slow = writing.cancelled()
            writing.cancel()
            reading.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
            self._tell_free()
        if too_slow:
            raise SlowPeerError(f"{self.unsent} bytes waited to be sent to it")
        if not reading.cancelled():
            reading.result()

    def _tell_free(self) -> None:
        callbacks, self._when_free = self._when_free, []
        for callback in callbacks:
            callback()

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
                    self._leaving = len(out) - start
                    await self._write(bytes(view[start : start + MAX_BATCH_BYTES]))
                    if self._when_free and self.unsent <= _FREE:
                        self._tell_free()
            self._leaving = 0
            if self._closing and not self._out:
                if self._end is not None:
                    with contextlib.suppress(Exception):  # it ended already
                        await self._end()
                return
