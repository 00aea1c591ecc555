"""One I/O thread per process: all Unix-socket connections of a driver or worker.

`Connection.send` may be called from any thread and never blocks: what the socket does not take
at once is kept and written by the I/O thread. Incoming messages are handed, in batches as they
arrive, to one callback on the I/O thread, which must not block either. The node uses asyncio
instead (``node.server``); both speak the frames of ``framing``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import ProtocolError
from .framing import FrameDecoder, encode_frame

__all__ = ["Connection", "Reactor"]

_RECEIVE_BYTES = 1 << 18
#: seconds that queued output may take at the end
_LAST_WORDS = 1.0
_log = logging.getLogger("millpond.wire")


class Connection:
    """One socket, its undecoded input and its unsent output."""

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._reactor = reactor
        self.sock = sock
        self.fileno = sock.fileno()
        #: id of the process at the other end, known after its Hello
        self.peer_id: bytes = b""
        self.closed = False
        self._decoder = FrameDecoder()
        self._lock = threading.Lock()
        self._unsent: deque[memoryview] = deque()

    def send(self, message: msgspec.Struct) -> bool:
        """Send or queue one message; False when the connection is closed."""
        frame = encode_frame(message)
        with self._lock:
            if self.closed:
                return False
            if self._unsent:
                self._unsent.append(memoryview(frame))
                return True
            try:
                sent = self.sock.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The reader sees the end of the stream and reports it, once.
                return False
            if sent < len(frame):
                self._unsent.append(memoryview(frame)[sent:])
                self._reactor.want_write(self, wanted=True)
            return True

    def flush(self) -> None:
        """Write queued output, and stop waiting to be writable when nothing is left."""
        with self._lock:
            while self._unsent and not self.closed:
                chunk = self._unsent[0]
                try:
                    sent = self.sock.send(chunk)
                except BlockingIOError:
                    return
                except OSError:
                    self._unsent.clear()
                    break
                if sent == len(chunk):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = chunk[sent:]
            # Under the lock: another thread's send may want it again right after.
            self._reactor.want_write(self, wanted=False)

    def receive(self, buffer: memoryview) -> tuple[list[Any], bool]:
        """Return the messages that can be read now, and whether the stream goes on."""
        try:
            count = self.sock.recv_into(buffer)
        except BlockingIOError:
            return [], True
        except OSError:
            return [], False
        if count == 0:
            return [], False
        return self._decoder.feed(buffer[:count]), True

    def close(self) -> None:
        """Close the socket; nothing more is sent or received."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._unsent.clear()
                self.sock.close()


class Reactor:
    """The I/O thread.

    Args:
        on_messages: called with a connection and the messages that arrived together.
        on_closed: called once for a connection that ended.
        name: of the thread.
    """

    def __init__(
        self,
        on_messages: Callable[[Connection, list[Any]], None],
        on_closed: Callable[[Connection], None],
        name: str,
    ) -> None:
        self._on_messages = on_messages
        self._on_closed = on_closed
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._listener: socket.socket | None = None
        self._calls: deque[Callable[[], None]] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._stopping = False
        #: seconds between calls of ``on_tick``, None to sleep until something happens
        self.tick: Callable[[], float | None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs on the I/O thread, where nothing may block."""
        return threading.get_ident() == self._thread.ident

    def listen(self, path: str) -> None:
        """Accept connections on a Unix socket at ``path`` (mode 0600)."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101
        listener.listen(512)
        listener.setblocking(False)
        self._listener = listener
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def connect(self, path: str) -> Connection:
        """Connect to the Unix socket at ``path``.

        Raises:
            OSError: nobody listens there (any more).
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return self.adopt(sock)

    def adopt(self, sock: socket.socket) -> Connection:
        """Serve a connected socket."""
        connection = Connection(self, sock)
        self._connections[connection.fileno] = connection
        self._epoll.register(connection.fileno, select.EPOLLIN)
        return connection

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run ``function`` on the I/O thread."""
        self._calls.append(function)
        self.wake()

    def wake(self) -> None:
        """Make the I/O thread look at its tick and its calls."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"\0")

    def want_write(self, connection: Connection, *, wanted: bool) -> None:
        """Have the I/O thread flush ``connection`` once it is writable, or no more."""
        events = select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(connection.fileno, events)

    def stop(self) -> None:
        """End the thread and close every socket. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        self.wake()
        if self._thread.ident is not None and not self.is_own_thread:
            self._thread.join()

    def _run(self) -> None:
        buffer = memoryview(bytearray(_RECEIVE_BYTES))
        while not self._stopping:
            timeout = self.tick()
            try:
                events = self._epoll.poll(-1 if timeout is None else max(timeout, 0.0))
            except InterruptedError:
                continue
            for fileno, event in events:
                if fileno == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                elif self._listener is not None and fileno == self._listener.fileno():
                    self._accept()
                else:
                    self._serve(fileno, event, buffer)
            while self._calls:
                self._calls.popleft()()
        self._close_all()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            _log.warning("could not accept a connection: %s", error)
            # Out of file descriptors: leave the caller in the backlog, do not spin.
            time.sleep(0.01)
            return
        self.adopt(sock)

    def _serve(self, fileno: int, event: int, buffer: memoryview) -> None:
        connection = self._connections.get(fileno)
        if connection is None:
            return
        if event & select.EPOLLOUT:
            connection.flush()
        if not event & ~select.EPOLLOUT:
            return
        try:
            messages, alive = connection.receive(buffer)
        except ProtocolError as error:
            _log.warning("closing a connection: %s", error)
            messages, alive = [], False
        if messages:
            self._on_messages(connection, messages)
        if not alive:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._connections.pop(connection.fileno, None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(connection.fileno)
        connection.close()
        self._on_closed(connection)

    def _close_all(self) -> None:
        for connection in list(self._connections.values()):
            with contextlib.suppress(OSError):
                connection.sock.settimeout(_LAST_WORDS)
                connection.flush()
            connection.close()
        self._connections.clear()
        if self._listener is not None:
            self._listener.close()
        self._epoll.close()
        os.close(self._wake_read)
        # Destructors may still call `wake`: never with a descriptor that somebody else got since.
        wake_write, self._wake_write = self._wake_write, -1
        os.close(wake_write)
