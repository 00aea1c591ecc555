"""The zygote: a process without threads that forks workers in milliseconds.

The node forks the first zygote before it starts any thread; it has only what the node itself
imported. On request a zygote forks another *zygote*, which first imports the heavy modules
(numpy, pandas, ...) and then says that it is ready; workers forked from that one have them at
no cost. So the first workers never wait for an import.

A zygote ends when the node's end of its socket closes, and its workers die with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

import msgspec

from .mapped_files import forget_mapped_files

__all__ = ["Exited", "Fork", "ForkZygote", "Forked", "Kill", "Ready", "ZygoteMessage", "serve"]

_MESSAGE_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1
#: how much the imports of a zygote stand back behind what runs meanwhile
_NICENESS = 10
_prctl = ctypes.CDLL(None, use_errno=True).prctl  # found once, and not in every worker


class Fork(msgspec.Struct, tag=True):
    """Fork a worker; carries the write ends of its stdout and stderr."""

    worker_id: bytes


class ForkZygote(msgspec.Struct, tag=True):
    """Fork a zygote that imports ``modules``; carries its socket."""

    modules: list[str]


class Kill(msgspec.Struct, tag=True):
    """Kill a worker, if it still is a child."""

    pid: int


class Forked(msgspec.Struct, tag=True):
    """A worker was forked."""

    worker_id: bytes
    pid: int


class Ready(msgspec.Struct, tag=True):
    """The modules are imported."""

    pid: int


class Exited(msgspec.Struct, tag=True):
    """A worker ended, with the status of ``os.waitpid``."""

    pid: int
    status: int


ZygoteMessage = Fork | ForkZygote | Kill | Forked | Ready | Exited

_encode = msgspec.msgpack.encode
_decoder = msgspec.msgpack.Decoder(ZygoteMessage)


def decode(data: bytes) -> ZygoteMessage:
    """Return the message in one packet."""
    message: ZygoteMessage = _decoder.decode(data)
    return message


def serve(control: socket.socket, run_worker: Callable[[bytes], None]) -> None:
    """Fork workers on request until the node closes ``control``. Never returns.

    Args:
        control: a SOCK_SEQPACKET Unix socket to the node.
        run_worker: called in a forked worker with its process id.
    """
    children: set[int] = set()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    control.setblocking(True)
    import select

    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(wake_read, select.POLLIN)
    while True:
        for fileno, _ in poller.poll():
            if fileno == wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
                _reap(control, children)
                continue
            try:
                data, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 4)
            except OSError:
                data, fds = b"", []
            if not data:
                os._exit(0)
            message = decode(data)
            if isinstance(message, Fork):
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    os.close(wake_read)
                    os.close(wake_write)
                    control.close()
                    _become_worker(message.worker_id, fds, run_worker)
                children.add(pid)
                control.send(_encode(Forked(message.worker_id, pid)))
            elif isinstance(message, ForkZygote):
                if os.fork() == 0:
                    signal.set_wakeup_fd(-1)
                    os.close(wake_read)
                    os.close(wake_write)
                    control.close()
                    _become_zygote(socket.socket(fileno=fds[0]), message.modules, run_worker)
            elif isinstance(message, Kill) and message.pid in children:
                os.kill(message.pid, signal.SIGKILL)
            for fd in fds:
                os.close(fd)


def _reap(control: socket.socket, children: set[int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in children:
            children.discard(pid)
            with contextlib.suppress(OSError):
                control.send(_encode(Exited(pid, status)))


def _become_zygote(
    control: socket.socket, modules: list[str], run_worker: Callable[[bytes], None]
) -> None:
    # Of a thread, because the workers, which are forked by this one, must not stand back.
    importer = threading.Thread(target=_import_in_background, args=(modules,))
    importer.start()
    importer.join()
    gc.collect()
    gc.freeze()  # the collector must not touch, and so copy, what the workers share
    with contextlib.suppress(OSError):
        forget_mapped_files()
    control.send(_encode(Ready(os.getpid())))
    serve(control, run_worker)


def _import_in_background(modules: list[str]) -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    for name in modules:
        # A module that is not installed or fails is imported (and reported) where it is used.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _become_worker(worker_id: bytes, fds: list[int], run_worker: Callable[[bytes], None]) -> None:
    """Run a worker in this forked process; never returns."""
    status = 1
    try:
        _die_with_parent()
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(fds[0], 1)
        os.dup2(fds[1], 2)
        for fd in fds:
            os.close(fd)
        _reseed()
        run_worker(worker_id)
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may escape into the zygote's loop
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _die_with_parent() -> None:
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _reseed() -> None:
    """Give the worker random numbers of its own (``random`` reseeds itself after a fork)."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # With a number: collecting entropy its own way costs numpy ten times as much.
        numpy_random.seed(int.from_bytes(os.urandom(4), "little"))
