"""The node's event loop: connections, and which service answers which message."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from ..errors import ProtocolError
from ..wire import messages as m
from ..wire.framing import FrameDecoder, encode_frame
from ..wire.ids import NodeId, driver_of
from ..wire.messages import cluster as c
from .actor_service import ActorService
from .cluster_service import ClusterService
from .dispatch import dispatch
from .far_peers import AnyPeer
from .far_service import FarService
from .lookahead import Lookahead
from .memory_report import MemoryReporter
from .memory_service import MemoryService
from .object_service import ObjectService
from .package_service import PackageService
from .task_service import TaskService
from .worker_pool import Worker, WorkerPool

__all__ = ["NodeServer", "Peer"]

_log = logging.getLogger("millpond.node")

#: seconds that workers get to flush their output at shutdown
_FLUSH = 0.15
#: what a process may ask that is no part of the session
_FOR_OBSERVERS: tuple[type, ...] = (m.GetMemory, m.GetSessionState, c.GetCluster)


class Peer(asyncio.Protocol):
    """The connection of one process of this machine."""

    def __init__(self, server: NodeServer) -> None:
        self._server = server
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport
        self.process_id = b""
        self.pid = 0
        #: it may look, and nothing else
        self.observes = False
        self.worker: Worker | None = None
        #: pauses that have not ended
        self._pauses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A process connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Serve the messages that are complete."""
        try:
            messages = self._decoder.feed(data)
        except ProtocolError as error:
            _log.warning("closing a connection: %s", error)
            self._transport.close()
            return
        for message in messages:
            self._server.handle(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        """The process is gone."""
        self._server.disconnected(self)

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def pause(self) -> Callable[[], None]:
        """Read nothing from it, which so keeps what it sends, until what is returned is called."""
        self._pauses += 1
        self._transport.pause_reading()
        return self._resume

    def _resume(self) -> None:
        self._pauses -= 1
        if not self._pauses:
            self._transport.resume_reading()

    def send(self, message: msgspec.Struct) -> None:
        """Send one message; nothing happens when the connection is closed."""
        if not self._transport.is_closing():
            self._transport.write(encode_frame(message))


class Lifeline(asyncio.Protocol):
    """The connection of a starter that says nothing more."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        """The starter is gone."""
        self._ended()


class NodeServer:
    """One node: its services, joined by messages.

    Args:
        loop: the event loop that everything runs on.
        node_id: of this node. The end of its driver, if it has one, is the end of the session.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, node_id: NodeId) -> None:
        self._loop = loop
        self._driver_id = driver_of(node_id)
        self._peers: dict[bytes, Peer] = {}
        self.objects: ObjectService
        self.tasks: TaskService
        self.lookahead: Lookahead
        self.actors: ActorService
        self.pool: WorkerPool
        self.memory: MemoryService
        self.reporter: MemoryReporter
        self.cluster: ClusterService
        self.far: FarService
        self.packages: PackageService
        #: done when the node may exit
        self.finished: asyncio.Future[None] = loop.create_future()
        self._shutting_down = False
        self._handlers: dict[type, Callable[[Any, Any], None]] = {
            m.Hello: self._hello,
            m.CreateObjects: self._create_objects,
            m.PinObjects: self._pin_objects,
            m.SealObjects: lambda _, msg: self.objects.seal(msg.object_ids),
            m.AbortObjects: lambda _, msg: self.objects.abort(msg.object_ids),
            m.UnpinObjects: lambda p, msg: self.objects.unpin(msg.object_ids, p.process_id),
            m.DeleteObjects: lambda _, msg: self.objects.delete(msg.object_ids),
            m.KeepObjects: lambda _, msg: self.objects.keep(msg.object_ids),
            m.Standing: lambda p, msg: self.tasks.stalemate.told(p.process_id, msg),
            m.ReturnLease: lambda _, msg: self.tasks.return_lease(msg),
            m.CancelTask: lambda _, msg: self.tasks.cancel(msg),
            m.TaskFinished: self._task_finished,
            m.Upcoming: lambda p, msg: self.lookahead.told(p.process_id, msg),
            m.Blocked: lambda p, _: self.tasks.blocked(p.worker),
            m.Unblocked: lambda p, _: self.tasks.unblocked(p.worker),
            m.KillWorkerOf: self._kill_worker,
            m.Preload: lambda _, msg: self.pool.preload(msg.modules),
            m.GetStatistics: self._statistics,
            m.GetSessionState: self._session_state,
            m.GetMemory: lambda p, msg: self.reporter.report(msg, p.send),
            c.GetCluster: lambda p, msg: p.send(self.cluster.state(msg.request)),
            c.OpenPort: lambda p, msg: self.cluster.open_later(msg, p.send),
            m.ObjectsDescribed: lambda p, msg: self.reporter.described(p.process_id, msg),
            m.Shutdown: lambda _, __: self.shut_down(),
        }
        self._for_observers = {kind: self._handlers[kind] for kind in _FOR_OBSERVERS}

    def join(self, far: FarService) -> None:
        """Be one of several nodes, or the only one."""
        self.far = far
        self._handlers.update({**far.handlers, **self.packages.handlers})

    def expect_driver(self) -> Peer:
        """Return the peer of the driver, whose end counts before it has said a word."""
        peer = self._peers[self._driver_id] = Peer(self)
        peer.process_id = self._driver_id
        return peer

    def expect_starter(self) -> Lifeline:
        """Return the connection of a starter that is no driver, and whose end counts."""
        return Lifeline(self.shut_down)

    @property
    def peers(self) -> Mapping[bytes, Peer]:
        """The connected processes of the session, by id."""
        return self._peers

    def warn_driver(self, text: str) -> None:
        """Have the driver warn its user."""
        self.tell_driver(m.StoreNotice(text))

    def ask_all(self, question: msgspec.Struct) -> list[bytes]:
        """Send every process of the session a question; return who they are."""
        for peer in self._peers.values():
            peer.send(question)
        return list(self._peers)

    def peer(self, process_id: bytes) -> AnyPeer | None:
        """Return a process of this node or another one, if it is alive."""
        return self._peers.get(process_id) or self.far.peers.peer(process_id)

    def handle(self, peer: AnyPeer, message: Any) -> None:
        """Serve one message."""
        dispatch(self._for_observers if peer.observes else self._handlers, peer, message)

    def disconnected(self, peer: Peer) -> None:
        """A process is gone."""
        if self._peers.get(peer.process_id) is not peer:
            return
        del self._peers[peer.process_id]
        if peer.process_id == self._driver_id:
            self.shut_down()
            return
        self.drop_process(peer.process_id)
        self.reporter.process_died(peer.process_id)
        self.far.local_process_died(peer.process_id)
        for other in self._peers.values():
            other.send(m.ProcessDied(peer.process_id))
        if peer.worker is not None:
            self.pool.connection_lost(peer.worker)

    def drop_process(self, process_id: bytes) -> None:
        """A process of this node or another one is gone: what it had, and waited for, goes."""
        self.objects.drop_process(process_id)
        self.tasks.process_died(process_id)
        self.packages.gone(process_id)

    def tell_driver(self, message: msgspec.Struct) -> None:
        """Send a message to the driver of this node, if it has one."""
        driver = self._peers.get(self._driver_id)
        if driver is not None:
            driver.send(message)

    def worker_died(self, worker: Worker, reason: str) -> None:
        """A worker process is gone and reaped."""
        if self._shutting_down:
            return
        self.memory.worker_died(worker)
        if worker.actor_id:
            self.actors.worker_died(worker, reason)
        else:
            self.tasks.worker_died(worker, reason)

    def give_up(self, reason: str) -> None:
        """The node cannot go on; the driver sees its connection end."""
        _log.error("the session ends: %s", reason)
        if not self.finished.done():
            self.finished.set_result(None)

    # --- messages ---

    def _hello(self, peer: Peer, message: m.Hello) -> None:
        if message.protocol != m.PROTOCOL:
            _log.error(
                "process %d speaks protocol %d, this node speaks %d: closing its connection",
                message.pid,
                message.protocol,
                m.PROTOCOL,
            )
            peer.close()
            return
        peer.pid = message.pid
        if message.role == "observer":
            peer.observes = True
            return
        peer.process_id = message.process_id
        self._peers[message.process_id] = peer
        if self.cluster.lost is not None:
            peer.send(self.cluster.lost)
        if message.role == "worker":
            peer.worker = self.pool.registered(message.process_id, peer)
            if peer.worker is None:
                peer.close()

    def _create_objects(self, peer: Peer, message: m.CreateObjects) -> None:
        self.objects.create(
            message.object_ids,
            message.sizes,
            peer.process_id,
            lambda locations: peer.send(m.Locations(message.request, locations)),
            rebuild=message.rebuild,
        )

    def _pin_objects(self, peer: Peer, message: m.PinObjects) -> None:
        self.objects.pin(
            message.object_ids,
            peer.process_id,
            lambda locations: peer.send(m.Locations(message.request, locations)),
            message.copies,
        )

    def _task_finished(self, peer: Peer, message: m.TaskFinished) -> None:
        if peer.worker is None:
            return
        if peer.worker.actor_id:
            self.actors.constructed(peer.worker.actor_id, message.error)
        else:
            self.tasks.finished(peer.worker, message)

    def _kill_worker(self, peer: Peer, message: m.KillWorkerOf) -> None:
        worker = self.pool.workers.get(message.worker_id)
        if worker is not None:
            self.pool.kill(worker, "it was cancelled by force")

    def _statistics(self, peer: Peer, message: m.GetStatistics) -> None:
        store = {name: int(value) for name, value in asdict(self.objects.statistics()).items()}
        pids = [os.getpid(), *self.pool.pids()]
        workers, kills = len(self.pool.workers), self.memory.kills
        spilled = self.objects.spill_statistics()
        spill = None if spilled is None else asdict(spilled)
        sent, received = self.far.fetches.sent, self.far.pulls.received
        peer.send(
            m.NodeStatistics(message.request, store, pids, workers, kills, spill, sent, received)
        )

    def _session_state(self, peer: Peer, message: m.GetSessionState) -> None:
        resources = self.tasks.queue.pool
        workers = self.pool.workers.values()
        peer.send(
            m.SessionState(
                message.request,
                resources.total,
                resources.available,
                len(workers),
                sum(worker.grant_key is not None for worker in workers),
                sum(bool(worker.actor_id) for worker in workers),
                {name: int(value) for name, value in asdict(self.objects.statistics()).items()},
            )
        )

    # --- the end ---

    def shut_down(self) -> None:
        """End the session, or this node of the cluster."""
        if self._shutting_down:
            return
        self._shutting_down = True
        self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        """Let the workers flush, end them, send their last words, say goodbye."""
        self.pool.closing = True
        for worker in self.pool.workers.values():
            if worker.connection is not None:
                worker.connection.send(m.Exit(now=True))
        deadline = self._loop.time() + _FLUSH
        while any(w.open_pipes for w in self.pool.workers.values()):
            if self._loop.time() > deadline:
                break
            await asyncio.sleep(0.002)
        self.pool.close()
        deadline = self._loop.time() + _FLUSH
        while any(w.open_pipes for w in self.pool.workers.values()):
            if self._loop.time() > deadline:
                break
            await asyncio.sleep(0.002)
        self.tasks.stalemate.close()
        self.far.pulls.close()
        await self.cluster.close()
        with contextlib.suppress(Exception):
            self.objects.close()
        self.tell_driver(m.ShutdownDone())
        if not self.finished.done():
            self.finished.set_result(None)
