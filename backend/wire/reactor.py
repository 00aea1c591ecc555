"""All Unix-socket connections of a driver or worker, served by one thread at a time.

`Connection.send` may be called from any thread and never blocks: what the socket does not take
at once is kept and written by the thread that polls. Incoming messages are handed, in batches as
they arrive, to one callback on that thread, which must not block either. It is the I/O thread, or
one that waits for an answer: ``leadership``. The node uses asyncio instead (``node.server``); both
speak the frames of ``framing``.
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
from .interrupts import InterruptGuard
from .leadership import Events, Leadership

__all__ = ["Connection", "Reactor"]

_RECEIVE_BYTES = 1 << 18
#: seconds below which a wait was short, and for which the next one does not sleep then
_BRISK = 0.0004
_SPIN = 0.00025
#: seconds that a tick may be late for the sake of a short wait
_LATE = 0.002
#: seconds that one wait of the kernel's may take; it refuses years
_LONGEST = 1e5
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
    """The sockets of a process, and the I/O thread. To be opened, and then to be started.

    Args:
        on_messages: called with a connection and the messages that arrived together.
        on_closed: called once for a connection that ended.
        name: of the I/O thread.
    """

    def __init__(
        self,
        on_messages: Callable[[Connection, list[Any]], None],
        on_closed: Callable[[Connection], None],
        name: str,
    ) -> None:
        self._on_messages = on_messages
        self._on_closed = on_closed
        self._name = name
        self._epoll: select.epoll
        self._thread: threading.Thread
        self._connections: dict[int, Connection] = {}
        self._listener: socket.socket | None = None
        self._wake_read = self._wake_write = -1
        #: the last eager wait was short
        self._brisk = False
        self._ticked = 0.0
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))
        self.guard = InterruptGuard()
        self.leadership = Leadership(self, self.guard)
        #: seconds between calls of ``on_tick``, None to sleep until something happens
        self.tick: Callable[[], float | None] = lambda: None

    def open(self) -> None:
        """Get ready to adopt sockets: what a process must not share with one that forked it."""
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

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

    def wake(self) -> None:
        """Make the thread that polls look at the tick."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"\0")

    def want_write(self, connection: Connection, *, wanted: bool) -> None:
        """Have the I/O thread flush ``connection`` once it is writable, or no more."""
        events = select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(connection.fileno, events)

    def stop(self) -> None:
        """End the thread and close every socket. Idempotent."""
        if self.leadership.stopping:
            return
        self.leadership.stop()
        if self._thread.ident is not None and not self.leadership.is_mine:
            self._thread.join()

    def select(self, timeout: float | None, *, eager: bool) -> Events:
        """Wait for events: at most for ``timeout`` seconds, and until the next tick.

        Args:
            timeout: seconds; None for no limit.
            eager: a thread needs what comes next. If the last such wait was a short one, so may
                this be: the thread looks again and again for a moment before it sleeps, since to
                sleep and to be woken takes longer than a small task does.
        """
        now = time.perf_counter
        started = now()
        if eager and self._brisk and started - self._ticked < _LATE:
            events = self._spin(started + _SPIN)
            if events:
                return events
        self._ticked = now()
        tick = self.tick()
        if timeout is None or (tick is not None and tick < timeout):
            timeout = tick
        seconds = -1 if timeout is None else min(max(timeout, 0.0), _LONGEST)
        if not eager:
            return self._epoll.poll(seconds)
        events = (self._spin(started + _SPIN) if self._brisk else None) or self._epoll.poll(seconds)
        self._brisk = now() - started < _BRISK
        return events

    def _spin(self, deadline: float) -> Events:
        """Look for events again and again until there are some, or the deadline."""
        poll, now = self._epoll.poll, time.perf_counter
        while now() < deadline:
            events = poll(0)
            if events:
                return events
        return []

    def serve(self, events: Events) -> None:
        """Read, write and accept where the events say so, and hand the messages on."""
        for fileno, event in events:
            connection = self._connections.get(fileno)
            if connection is not None:
                self._serve(connection, event)
            elif fileno == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif self._listener is not None and fileno == self._listener.fileno():
                self._accept()

    def _run(self) -> None:
        self.leadership.run()
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

    def _serve(self, connection: Connection, event: int) -> None:
        if event & select.EPOLLOUT:
            connection.flush()
            if event == select.EPOLLOUT:
                return
        try:
            messages, alive = connection.receive(self._buffer)
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
