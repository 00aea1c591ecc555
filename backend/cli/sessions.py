"""Finding the sessions of this user on this machine, and asking their nodes.

A session is a directory that its node listens in. One whose socket refuses is what a killed node
left behind. Whoever asks is an *observer*: no part of the session, which goes on without it.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ..errors import MillpondError, ProtocolError, SessionNotFoundError
from ..report.memory_text import table
from ..wire import messages as m
from ..wire.framing import FrameDecoder, encode_frame

__all__ = ["FoundSession", "ask", "choose", "find_sessions", "session_table"]

_PREFIX = "millpond-"
#: seconds that a node gets to answer; it waits for its owners a second itself
_PATIENCE = 10.0
_PROGRAM_WIDTH = 60


@dataclass(frozen=True, slots=True)
class FoundSession:
    """A directory of a session.

    Attributes:
        directory: it.
        node_pid: process id of its node; 0 when the node is dead.
        driver_pid: process id of the program that started it; 0 where unknown.
        program: command line of that program.
        started: seconds since the epoch; 0 where unknown.
    """

    directory: Path
    node_pid: int = 0
    driver_pid: int = 0
    program: str = ""
    started: float = 0.0

    @property
    def name(self) -> str:
        """What tells it from other sessions."""
        return self.directory.name.removeprefix(_PREFIX)


def find_sessions(parent: Path) -> list[FoundSession]:
    """Return the sessions of this user below a directory, dead ones included, oldest first."""
    found = [_inspect(path) for path in _candidates(parent)]
    return sorted((s for s in found if s is not None), key=lambda s: (s.started, s.name))


def _candidates(parent: Path) -> Iterator[Path]:
    """Directories that only this user can have made, with the socket of a node."""
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            status = path.lstat()
            listens = stat.S_ISSOCK((path / "node.sock").lstat().st_mode)
        except OSError:
            continue
        # A link is open to all, and so is no session.
        private = not status.st_mode & 0o077
        if private and status.st_uid == os.geteuid() and listens:
            yield path


def _inspect(path: Path) -> FoundSession | None:
    try:
        with _connected(path) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except ConnectionRefusedError:
        return FoundSession(path)
    except OSError:  # it ended just now
        return None
    node_pid: int = struct.unpack("3i", credentials)[0]
    try:
        node = psutil.Process(node_pid)
        driver = psutil.Process(node.ppid())
        program = " ".join(driver.cmdline())
        return FoundSession(path, node_pid, driver.pid, program, node.create_time())
    except psutil.Error:
        return FoundSession(path, node_pid)


def _connected(directory: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_PATIENCE)
        connection.connect(str(directory / "node.sock"))
    except BaseException:
        connection.close()
        raise
    return connection


def choose(
    found: Sequence[FoundSession], name: str | None = None, pid: int | None = None
) -> FoundSession:
    """Return the one session that is meant.

    Args:
        found: what `find_sessions` returned.
        name: of the session, or the path of its directory; None for any.
        pid: process id of its driver or node; None for any.

    Raises:
        SessionNotFoundError: there is no such session, or more than one.
    """
    alive = [session for session in found if session.node_pid]
    fitting = [
        session
        for session in alive
        if name in (None, session.name, session.directory.name, str(session.directory))
        and pid in (None, session.driver_pid, session.node_pid)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SessionNotFoundError(
            "several sessions are running: choose one with --session or --pid\n\n"
            f"{session_table(fitting)}"
        )
    if alive:
        raise SessionNotFoundError(
            f"no running session has the {_given(name, pid)}; these are running:\n\n"
            f"{session_table(alive)}"
        )
    dead = [str(session.directory) for session in found]
    left = f" (left behind by killed processes, and safe to remove: {', '.join(dead)})"
    raise SessionNotFoundError(
        "no session is running" + (left if dead else "") + ". Sessions are looked for in the "
        "temporary directory: if the driver has another TMPDIR, give it with --directory"
    )


def _given(name: str | None, pid: int | None) -> str:
    given = {"name": name, "pid": pid}
    return " and the ".join(f"{what} {value}" for what, value in given.items() if value is not None)


def session_table(sessions: Sequence[FoundSession]) -> str:
    """Return a table of running sessions."""
    rows = [
        (
            str(session.driver_pid or "?"),
            session.name,
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.started)),
            session.program[:_PROGRAM_WIDTH],
        )
        for session in sessions
    ]
    return table(("pid", "session", "started", "program"), rows)


def ask(session: FoundSession, message: msgspec.Struct) -> Any:
    """Return the node's answer to a request.

    Raises:
        SessionNotFoundError: the session ended meanwhile.
        MillpondError: the node did not answer.
    """
    try:
        with _connected(session.directory) as connection:
            hello = m.Hello(m.PROTOCOL, b"", "observer", os.getpid())
            connection.sendall(encode_frame(hello) + encode_frame(message))
            return _receive(connection)
    except TimeoutError:
        raise MillpondError(
            f"the node of session {session.name} (process {session.node_pid}) did not answer "
            f"within {_PATIENCE:g} s"
        ) from None
    except ProtocolError as error:
        raise MillpondError(f"session {session.name} runs another version: {error}") from None
    except OSError as error:
        raise SessionNotFoundError(f"session {session.name} ended: {error}") from None


def _receive(connection: socket.socket) -> Any:
    decoder = FrameDecoder()
    while data := connection.recv(1 << 20):
        for answer in decoder.feed(data):
            return answer
    raise ProtocolError(
        f"its node closed the connection; this is protocol {m.PROTOCOL} of millpond"
    )
