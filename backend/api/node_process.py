"""A node process as its starter sees it: a driver, the command ``millpond start``, or a test.

The socket to it is its lifeline: however the starter ends, the node sees it close, ends its
children, and removes every file. (A node that is to go on without its starter is told so.)
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from millpond.objectstore.striped_file import MOST_FILES

from .. import errors
from ..errors import ClusterError, ConfigurationError, MillpondError, OutOfDiskError
from ..wire import messages as m
from ..wire.framing import FrameDecoder, encode_frame
from ..wire.ids import NodeId, new_node_id
from ..wire.messages import cluster as c
from .settings import Settings
from .spill_options import spill_settings

__all__ = ["NodeProcess", "check_joined"]

#: a socket's path has at most 107 bytes; its name is 8 bytes in hexadecimal and ".sock"
_LONGEST_DIRECTORY = 107 - len("/0123456789abcdef.sock")


class NodeProcess:
    """A node that was started by this process, and runs.

    Args:
        settings: of the node.
        preload: modules that its workers have imported; those of the settings if these say.
        has_driver: this process is its driver.
        lifeline: it ends when this process does; else its messages go to a file in its directory.
        cluster: the port it opens, and the cluster it joins.

    Attributes:
        node_id: its id.
        directory: of its sockets.
        connection: to the node; the caller's to use.
        arena_fds: descriptors of its arena, until `close_arena`.
        address: host:port where other nodes reach it, if it opened a port.

    Raises:
        ClusterError: it cannot open the port, or join.
        ConfigurationError: a setting is wrong.
        OutOfDiskError: the spill directory is full.
    """

    def __init__(
        self,
        settings: Settings,
        preload: list[str],
        *,
        has_driver: bool,
        lifeline: bool = True,
        cluster: c.ClusterSettings | None = None,
    ) -> None:
        self.node_id: NodeId = new_node_id()
        self.address = ""
        self.validate = os.environ.get("MILLPOND_VALIDATE") == "1"
        self.directory = _make_directory()
        self.connection, theirs = socket.socketpair()
        try:
            self._process = self._spawn(theirs, lifeline)
            theirs.close()
            self._start(self._message(settings, preload, cluster, has_driver, lifeline))
        except BaseException:
            theirs.close()
            self.connection.close()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def _spawn(self, theirs: socket.socket, lifeline: bool) -> subprocess.Popen[bytes]:
        stderr = None if lifeline else (Path(self.directory) / "node.log").open("ab")
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "millpond.node", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        finally:
            if stderr is not None:
                stderr.close()

    def _message(
        self,
        settings: Settings,
        preload: list[str],
        cluster: c.ClusterSettings | None,
        has_driver: bool,
        lifeline: bool,
    ) -> m.Start:
        return m.Start(
            self.directory,
            settings.object_store_memory,
            spill_settings(settings.spill),
            settings.counted_resources(),
            preload if settings.preload is None else list(settings.preload),
            settings.preload is None,
            [os.path.abspath(path) for path in sys.path],  # noqa: PTH100 - "" is the present directory
            self.node_id,
            has_driver,
            lifeline,
            settings.max_workers,
            self.validate,
            settings.memory,
            settings.memory_threshold,
            cluster,
        )

    def _start(self, start: m.Start) -> None:
        fds: list[int] = []
        try:
            self.connection.sendall(encode_frame(start))
            messages = self._receive(fds)
            _check_started(next(messages))
            if start.cluster is not None:
                self.address = check_joined(next(messages))
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if not isinstance(error, MillpondError):
                self._process.kill()
            self._process.wait()
            raise
        self.arena_fds = fds

    def _receive(self, fds: list[int]) -> Any:
        """Yield what the node says before it serves anybody."""
        decoder = FrameDecoder()
        while True:
            data, received, _, _ = socket.recv_fds(self.connection, 1 << 16, MOST_FILES)
            fds += received
            if not data:
                code = self._process.wait()
                raise MillpondError(
                    f"the node process ended while it started (exit code {code}); its error is "
                    "on this process's stderr"
                )
            yield from decoder.feed(data)

    def close_arena(self) -> None:
        """Close the descriptors of the arena: it is mapped, or of no interest here."""
        for fd in self.arena_fds:
            os.close(fd)
        self.arena_fds = []

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def terminate(self) -> None:
        """Tell a node without a driver to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, as SIGKILL does; its children end with it."""
        self._process.kill()

    def wait(self, patience: float | None = None) -> None:
        """Wait until it has ended; kill it after so many seconds; and remove its directory."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _make_directory() -> str:
    directory = tempfile.mkdtemp(prefix="millpond-")
    if len(os.fsencode(directory)) > _LONGEST_DIRECTORY:
        Path(directory).rmdir()
        raise ConfigurationError(
            f"the temporary directory {tempfile.gettempdir()} has too long a name: a session's is "
            f"made below it, and for its sockets {directory} must have at most "
            f"{_LONGEST_DIRECTORY} bytes. Set TMPDIR to a shorter one"
        )
    return directory


def _check_started(started: m.Started) -> None:
    if started.error:
        kind = OutOfDiskError if started.no_space else ConfigurationError
        raise kind(started.error)


def check_joined(joined: c.Joined) -> str:
    """Return the address of a node that opened its port.

    Raises:
        ClusterError: it could not.
    """
    if joined.error:
        raise getattr(errors, joined.error, ClusterError)(joined.text)
    return joined.address
