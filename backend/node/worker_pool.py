"""The node's workers: forked when needed, kept while useful, and what became of them.

Covers processes: the zygotes, forking, output pipes, exit. What a worker does is the business
of ``task_service``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from ..environments.description import has_variables
from ..wire.ids import ProcessIds
from ..wire.messages import Exit, OutOfMemory
from .idle_workers import IdleWorkers
from .logs import LogPipe
from .zygote import Exited, Fork, Forked, ForkZygote, Kill, Ready, ZygoteMessage, decode

__all__ = ["Worker", "WorkerPool"]


#: after so many workers in a row that died at once, the next one will too
_MAX_FAILED_STARTS = 5
_REPLACED = "replaced by a worker that has more modules imported"
_GIVES_PLACE = "replaced by a worker of another environment"


class Worker:
    """One worker process, from the request to fork it until it is gone."""

    def __init__(self, worker_id: bytes, zygote: _Zygote, environment: bytes) -> None:
        self.worker_id = worker_id
        self.zygote = zygote
        #: id of the environment of all its tasks
        self.environment = environment
        self.pid = 0
        #: its connection, once it has said hello
        self.connection: Any = None
        self.disconnected = False
        #: the grant it serves, None when idle
        self.grant_key: Hashable = None
        self.actor_id = b""
        #: the process that its last grant was for
        self.owner = b""
        #: why it is going to die, when the node knows
        self.doom = ""
        #: it was killed for its memory
        self.oom: OutOfMemory | None = None
        self.open_pipes = 2
        self.status: int | None = None

    @property
    def outdated(self) -> bool:
        """Whether it is to be replaced by one that has more modules imported.

        One that was set up for an environment has imported what it needs.
        """
        return self.zygote.retired and not self.environment


class _Zygote:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.pid = 0
        self.workers = 0
        #: there is one that has more modules imported
        self.retired = False

    def send(self, message: ZygoteMessage, fds: list[int] | None = None) -> None:
        data = msgspec.msgpack.encode(message)
        if fds:
            socket.send_fds(self.control, [data], fds)
        else:
            self.control.send(data)


class WorkerPool:
    """All workers of the node.

    Args:
        loop: the node's event loop.
        control: socket to the first zygote.
        zygote_pid: of the first zygote.
        ids: for the workers.
        keep_idle: idle workers to keep.
        max_workers: never more processes than this.
        emit_log: called with (worker, stream, task name, text).
        on_idle: a worker became free, or another may be forked.
        on_died: called with a worker that is gone and the reason.
        on_retired: the workers of a retired zygote should be given back soon.
        on_broken: no worker can be had any more, and why.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        control: socket.socket,
        zygote_pid: int,
        ids: ProcessIds,
        *,
        keep_idle: int,
        max_workers: int,
        emit_log: Callable[[Worker, int, str, str], None],
        on_idle: Callable[[], None],
        on_died: Callable[[Worker, str], None],
        on_retired: Callable[[], None],
        on_broken: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._ids = ids
        self._keep_idle = keep_idle
        self.max_workers = max_workers
        self._emit_log = emit_log
        self._on_idle = on_idle
        self._on_died = on_died
        self._on_retired = on_retired
        self._on_broken = on_broken
        #: workers in a row that died before they said hello
        self._failed_starts = 0
        self.workers: dict[bytes, Worker] = {}
        self._by_pid: dict[int, Worker] = {}
        self._idle: IdleWorkers[Worker] = IdleWorkers()
        self._zygotes: list[_Zygote] = []
        self._zygote = self._adopt_zygote(control)
        self._zygote.pid = zygote_pid
        #: has no modules imported, which may read the variables of an environment when they are
        self._first_zygote = self._zygote
        self._next_zygote: _Zygote | None = None
        self._modules: list[str] = []
        self._modules_wanted = False
        self.closing = False

    # --- workers for grants ---

    def room(self) -> int:
        """Return how many more grants could get a worker."""
        return len(self._idle) + self.max_workers - len(self.workers)

    def acquire(self, environment: bytes, take: Callable[[Worker], None]) -> None:
        """Call ``take`` with a free worker of an environment, now or when one is forked."""
        self._idle.wait(environment, take)
        self._serve_takers()

    def release(self, worker: Worker) -> None:
        """A worker is done with its grant."""
        worker.grant_key = None
        if worker.worker_id not in self.workers or worker.doom:
            return
        if worker.outdated:
            self._retire(worker, _REPLACED)
            return
        self._idle.add(worker)
        self._serve_takers()
        self._trim()
        self._on_idle()

    def prestart(self, count: int) -> None:
        """Have at least ``count`` workers."""
        for _ in range(count - len(self.workers)):
            self._fork()

    def registered(self, worker_id: bytes, connection: Any) -> Worker | None:
        """A worker said hello."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return None
        worker.connection = connection
        self._failed_starts = 0
        if worker.outdated:  # a better one is forked in milliseconds
            self._retire(worker, _REPLACED)
        else:
            self._idle.add(worker)
        self._serve_takers()
        self._trim()
        self._on_idle()
        return worker

    def _serve_takers(self) -> None:
        while (match := self._idle.next_match()) is not None:
            worker, take = match
            worker.grant_key = worker  # taken; the taker says for what
            take(worker)
        if not self._idle.are_awaited:
            return
        workers = self.workers.values()
        coming = (w.environment for w in workers if w.connection is None and not w.doom)
        lacking = self._idle.lacking(coming)
        places = max(self.max_workers - len(self.workers), 0)
        for environment in lacking[:places]:
            self._fork(environment)
        short_of_places = len(lacking[places:]) - sum(bool(w.doom) for w in workers)
        if short_of_places > 0:
            for worker in self._idle.longest_idle()[:short_of_places]:
                self._retire(worker, _GIVES_PLACE)

    def _trim(self) -> None:
        """End idle workers that are too many, or lack the modules of a newer zygote."""
        for worker in self._idle.longest_idle():
            if worker.outdated or len(self._idle) > self._keep_idle:
                self._retire(worker, "no longer needed")
        if not self.closing and not self._idle.are_awaited:
            usable = sum(not worker.outdated for worker in self.workers.values())
            if usable < min(self._keep_idle, self.max_workers):
                self._fork()

    def _retire(self, worker: Worker, reason: str) -> None:
        """End an idle worker as soon as nobody holds an object that it owns."""
        worker.doom = worker.doom or reason
        self._idle.discard(worker)
        worker.connection.send(Exit(when_free=True))

    def owner_died(self, owner: bytes) -> None:
        """Nobody may need the environments of a process that is gone."""
        for worker in self._idle.longest_idle():
            if worker.environment and worker.owner == owner:
                self._retire(worker, "the process that it was set up for is gone")
        self._trim()

    def kill(self, worker: Worker, reason: str) -> None:
        """Kill a worker; `on_died` follows."""
        worker.doom = worker.doom or reason
        self._idle.discard(worker)
        if worker.pid:
            self._tell(worker.zygote, Kill(worker.pid))

    # --- processes ---

    def _fork(self, environment: bytes = b"") -> None:
        zygote = self._first_zygote if has_variables(environment) else self._zygote
        worker = Worker(self._ids.new(), zygote, environment)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        try:
            worker.zygote.send(Fork(worker.worker_id), [out_write, err_write])
        except OSError:
            os.close(out_read)
            os.close(err_read)
            return  # the zygote is gone; its end is handled where its socket is read
        finally:
            os.close(out_write)
            os.close(err_write)
        self.workers[worker.worker_id] = worker
        worker.zygote.workers += 1
        for stream, fd in ((1, out_read), (2, err_read)):
            LogPipe(
                fd,
                self._loop,
                lambda name, text, stream=stream: self._emit_log(worker, stream, name, text),  # type: ignore[misc]
                lambda: self._pipe_ended(worker),
            )

    def connection_lost(self, worker: Worker) -> None:
        """The worker's connection ended: so must the worker."""
        worker.disconnected = True
        self._idle.discard(worker)
        self._tell(worker.zygote, Kill(worker.pid))
        self._finish_if_gone(worker)

    def _pipe_ended(self, worker: Worker) -> None:
        worker.open_pipes -= 1
        self._finish_if_gone(worker)

    def _finish_if_gone(self, worker: Worker) -> None:
        """Report a death when the process is reaped and its connection is read to the end.

        Its last words may follow.
        """
        connected = worker.connection is not None and not worker.disconnected
        if worker.status is None or connected:
            return
        if self.workers.pop(worker.worker_id, None) is None:
            return
        self._by_pid.pop(worker.pid, None)
        self._idle.discard(worker)
        worker.zygote.workers -= 1
        self._close_if_unused(worker.zygote)
        reason = worker.doom or describe_exit(worker.status)
        if worker.connection is None and not worker.doom:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                self._on_broken(f"{self._failed_starts} workers in a row did not start: {reason}")
                return
        self._on_died(worker, reason)
        if not self.closing:
            self._serve_takers()
            self._trim()
            self._on_idle()

    # --- zygotes ---

    def preload(self, modules: list[str]) -> None:
        """Have workers forked from now on import ``modules`` beforehand."""
        new = [name for name in modules if name not in self._modules]
        if not new:
            return
        self._modules += new
        if self._next_zygote is not None:
            self._modules_wanted = True  # again, when the present attempt is ready
            return
        self._start_next_zygote()

    def _start_next_zygote(self) -> None:
        self._modules_wanted = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._zygote.send(ForkZygote(self._modules), [theirs.fileno()])
        except OSError:
            ours.close()
            return
        finally:
            theirs.close()
        self._next_zygote = self._adopt_zygote(ours)

    def _adopt_zygote(self, control: socket.socket) -> _Zygote:
        control.setblocking(False)
        zygote = _Zygote(control)
        self._zygotes.append(zygote)
        self._loop.add_reader(control.fileno(), self._on_zygote, zygote)
        return zygote

    def _on_zygote(self, zygote: _Zygote) -> None:
        while True:
            try:
                data = zygote.control.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._zygote_gone(zygote)
                return
            message = decode(data)
            if isinstance(message, Forked):
                self._forked(message)
            elif isinstance(message, Exited):
                worker = self._by_pid.get(message.pid)
                if worker is not None:
                    worker.status = message.status
                    self._finish_if_gone(worker)
            elif isinstance(message, Ready):
                zygote.pid = message.pid
                self._switch_zygote(zygote)

    def _forked(self, message: Forked) -> None:
        worker = self.workers.get(message.worker_id)
        if worker is not None:
            worker.pid = message.pid
            self._by_pid[message.pid] = worker
            if worker.doom:
                self._tell(worker.zygote, Kill(worker.pid))

    def _switch_zygote(self, zygote: _Zygote) -> None:
        old, self._zygote = self._zygote, zygote
        self._next_zygote = None
        old.retired = True
        self._trim()
        self._on_retired()
        self._close_if_unused(old)
        if self._modules_wanted:
            self._start_next_zygote()

    def _close_if_unused(self, zygote: _Zygote) -> None:
        if zygote is self._first_zygote:
            return
        if zygote.retired and zygote.workers == 0 and zygote in self._zygotes:
            self._zygotes.remove(zygote)
            self._loop.remove_reader(zygote.control.fileno())
            zygote.control.close()

    def _zygote_gone(self, zygote: _Zygote) -> None:
        """A zygote died, and with it all its workers."""
        if zygote not in self._zygotes:
            return
        self._zygotes.remove(zygote)
        self._loop.remove_reader(zygote.control.fileno())
        zygote.control.close()
        if zygote is self._next_zygote:
            self._next_zygote = None  # the present one goes on without the modules
        elif zygote in (self._zygote, self._first_zygote):
            self._on_broken("the zygote process, which forks the workers, died")
            return
        for worker in [w for w in self.workers.values() if w.zygote is zygote]:
            worker.doom = worker.doom or "its zygote process died"
            worker.status = signal.SIGKILL
            self._finish_if_gone(worker)

    def _tell(self, zygote: _Zygote, message: ZygoteMessage) -> None:
        with contextlib.suppress(OSError):
            zygote.send(message)

    def pids(self) -> list[int]:
        """Return the process ids of zygotes and workers."""
        zygotes = [zygote.pid for zygote in self._zygotes if zygote.pid]
        return zygotes + [worker.pid for worker in self.workers.values() if worker.pid]

    def close(self) -> None:
        """Close the zygotes' sockets: they end, and their workers die with them."""
        self.closing = True
        for zygote in self._zygotes:
            self._loop.remove_reader(zygote.control.fileno())
            zygote.control.close()
        self._zygotes.clear()


def describe_exit(status: int) -> str:
    """Return how a process ended, from its ``waitpid`` status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return f"its worker was killed by signal {number} ({signal.Signals(number).name})"
        return f"its worker was killed by signal {number}"
    return f"its worker exited with code {os.waitstatus_to_exitcode(status)}"
