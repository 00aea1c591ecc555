"""Start of a node process: ``python -m millpond.node FD``.

FD is a connected socket to the starter, which sends the settings and gets the arena's descriptor.
Most often that is the driver, and its end is the end of this process and all of its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import shutil
import signal
import socket
import sys

from millpond.objectstore.arena import Arena
from millpond.objectstore.fileio import is_full
from millpond.objectstore.spill.storage import Storage
from millpond.scheduler.placement import Load
from millpond.scheduler.queue import LeaseQueue
from millpond.scheduler.resources import slots_of

from ..wire import messages as m
from ..wire.framing import FrameDecoder, encode_frame
from ..wire.ids import NodeId, ProcessIds
from ..wire.messages import cluster as c
from ..worker.output import redirect_output
from ..worker.process import prepare_worker
from . import recorder, zygote
from .actor_service import ActorService
from .cluster_service import ClusterService
from .far_service import FarService
from .log_routes import LogRoutes
from .lookahead import Lookahead
from .memory_report import MemoryReporter
from .memory_service import MemoryService
from .object_service import ObjectService
from .package_service import PackageService
from .server import NodeServer, Peer
from .spill_storage import open_storage, spill_places
from .stalemate import StalemateFinder
from .task_service import TaskService
from .worker_pool import WorkerPool

_PR_SET_CHILD_SUBREAPER = 36
#: memory for the first objects is made so many seconds after the start, at most so much of it,
#: since it takes far longer to make than to fill, and others need the processors as well; and given
#: back if nothing was stored until then
_PREPARE_AFTER = 0.5
_LARGEST_PREPARED = 256 << 20
_WITHDRAW_AFTER = 30.0


def main() -> None:
    """Run a node until its starter ends, or it is told to."""
    logging.basicConfig(format="millpond node: %(message)s", level=logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = socket.socket(fileno=int(sys.argv[1]))
    settings = _receive_settings(driver)
    if settings is None:
        return
    sys.path[:] = settings.sys_path
    # One compute thread per worker: there are as many workers as CPUs.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # pyarrow's jemalloc would start a thread, and a zygote must not have any.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    try:
        arena = Arena(settings.object_store_memory)
    except OSError as error:
        driver.sendall(encode_frame(m.Started(str(error), no_space=is_full(error))))
        return
    control, zygote_pid = _fork_zygote(settings, arena, driver)
    _adopt_orphans()
    try:
        storage = open_storage(settings.spill, settings.session_dir)
    except (OSError, ValueError) as error:
        full = isinstance(error, OSError) and is_full(error)
        driver.sendall(encode_frame(m.Started(str(error), no_space=full)))
        os._exit(1)  # the zygote ends with its socket
    socket.send_fds(driver, [bytes(encode_frame(m.Started()))], arena.fds)
    try:
        asyncio.run(
            _serve(settings, driver, arena, storage, control=control, zygote_pid=zygote_pid)
        )
    finally:
        if storage is not None:
            storage.close()
        shutil.rmtree(settings.session_dir, ignore_errors=True)
    os._exit(0)  # no thread of ours is left to wait for


def _receive_settings(driver: socket.socket) -> m.Start | None:
    decoder = FrameDecoder()
    while data := driver.recv(1 << 16):
        for message in decoder.feed(data):
            if isinstance(message, m.Start):
                return message
    return None


def _fork_zygote(
    settings: m.Start, arena: Arena, driver: socket.socket
) -> tuple[socket.socket, int]:
    """Fork the first zygote, while this process has no thread and no event loop."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gc.collect()
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            ours.close()
            driver.close()
            devnull = os.open(os.devnull, os.O_RDWR)
            os.dup2(devnull, 0)
            streams = redirect_output()
            zygote.serve(theirs, prepare_worker(settings, arena.fds, streams))
        os._exit(1)
    theirs.close()
    return ours, pid


def _adopt_orphans() -> None:
    """Stay the ancestor of zygotes whose parent ended, and have the kernel reap them."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


async def _serve(
    settings: m.Start,
    driver: socket.socket,
    arena: Arena,
    storage: Storage | None,
    *,
    control: socket.socket,
    zygote_pid: int,
) -> None:
    loop = asyncio.get_running_loop()
    node_id = NodeId(settings.node_id)
    server = NodeServer(loop, node_id)
    if trace := os.environ.get(recorder.VARIABLE):
        server.handle = recorder.recording(trace, server.handle)  # type: ignore[method-assign, assignment]
    first_lease = int.from_bytes(node_id, "big") << 32  # lease ids differ among nodes
    queue = LeaseQueue(settings.resources, settings.object_store_memory, first_lease)
    patience = settings.spill.disk_full_timeout if settings.spill is not None else 0.0
    server.objects = ObjectService(
        arena, storage, loop, validate=settings.validate, disk_full_timeout=patience
    )
    server.objects.notices.warn = server.warn_driver
    server.reporter = MemoryReporter(
        server.objects.core,
        server.peers,
        loop,
        spill_places(settings.spill, settings.session_dir),
    )
    server.tasks = TaskService(queue, server.objects, server.peer, loop)
    server.lookahead = Lookahead(queue, server.objects, server.peer, loop)
    server.actors = ActorService(queue, server.tasks.pump)
    server.cluster = _cluster_service(settings, server)
    logs = LogRoutes(server.cluster, server.tell_driver)
    num_workers = max(1, slots_of(settings.resources))
    server.pool = WorkerPool(
        loop,
        control,
        zygote_pid,
        ProcessIds(node_id),
        keep_idle=num_workers,
        max_workers=settings.max_workers,
        emit_log=logs.emit,
        on_idle=server.tasks.pump,
        on_died=server.worker_died,
        on_retired=server.tasks.recall_retired,
        on_broken=server.give_up,
    )
    server.tasks.pool = server.actors.pool = server.pool
    server.tasks.actors = server.actors
    server.memory = MemoryService(queue, server.tasks.pump, server.pool, loop, settings)
    server.packages = PackageService(settings.session_dir, server.peer, loop)
    far = FarService(server, server.cluster, loop)
    server.tasks.stalemate = StalemateFinder(
        far.ask_all, server.objects.waits_for_room, server.objects.recheck, loop
    )
    server.join(far)
    if settings.cluster is not None and not await _open(settings.cluster, server.cluster, driver):
        server.pool.close()
        return
    listener = await loop.create_unix_server(
        lambda: Peer(server), f"{settings.session_dir}/node.sock", backlog=512
    )
    if settings.has_driver:
        await loop.connect_accepted_socket(server.expect_driver, driver)
    else:
        loop.add_signal_handler(signal.SIGTERM, server.shut_down)
        if settings.lifeline:
            await loop.connect_accepted_socket(server.expect_starter, driver)
        else:
            driver.close()
    prepared = min(arena.capacity // 8, _LARGEST_PREPARED)
    loop.call_later(_PREPARE_AFTER, arena.prepare, prepared)
    loop.call_later(_WITHDRAW_AFTER, arena.withdraw)
    server.pool.prestart(num_workers)
    server.pool.preload(settings.preload)
    await server.finished
    listener.close()
    await asyncio.sleep(0)  # let the last message out


def _cluster_service(settings: m.Start, server: NodeServer) -> ClusterService:
    info = c.NodeInfo(
        settings.node_id,
        "",
        socket.gethostname(),
        os.getpid(),
        settings.resources,
        settings.object_store_memory,
        settings.has_driver,
    )

    def load() -> Load:
        tasks, far = server.tasks, server.far
        return Load(
            tasks.load,
            tasks.queue.slots,
            tasks.run_time,
            server.objects.free_memory,
            far.pulls.inbound,
            far.asked,
        )

    cluster = ClusterService(info, load, settings.session_dir)
    if settings.has_driver:
        cluster.alone = lambda _: server.far.be_alone()
    else:
        cluster.alone = server.give_up  # nobody can use it any more
    return cluster


async def _open(
    settings: c.ClusterSettings, cluster: ClusterService, starter: socket.socket
) -> bool:
    """Open this node's port and tell the starter; False when it cannot be done."""
    outcome = await cluster.open(settings)
    starter.setblocking(True)
    with contextlib.suppress(OSError):  # it has gone: that is noticed where it is waited for
        starter.sendall(encode_frame(outcome))
    return not outcome.error


if __name__ == "__main__":
    main()
