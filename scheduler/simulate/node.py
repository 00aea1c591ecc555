"""One simulated node: the engine's own lease queue, and what memory, disk and network would do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from ..placement import Load
from ..queue import LeaseQueue
from ..resources import UNIT
from ..run_times import RunTimes
from .directory import Directory
from .workloads import Task

__all__ = ["Node", "NodeSettings", "Traffic"]


@dataclass(slots=True, frozen=True)
class NodeSettings:
    """What a node is like.

    Attributes:
        slots: CPUs.
        memory: bytes of its object store.
        network: bytes per second that it receives, and as many that it sends.
        disk: bytes per second that it reads.
        latency: seconds that a message takes.
    """

    slots: int = 16
    memory: int = 32_000_000_000
    network: float = 1.25e9
    disk: float = 1e9
    latency: float = 0.0005


@dataclass(slots=True)
class Traffic:
    """Bytes that were read, of all nodes together.

    Attributes:
        local: by tasks on a node that had them.
        moved: sent from node to node, or read from their source again.
        restored: read from disks.
        spilled: written to disks to make room.
    """

    local: int = 0
    moved: int = 0
    restored: int = 0
    spilled: int = 0


class Node:
    """A node.

    Args:
        id: names it.
        settings: what it is like.
        slowness: times as long as elsewhere that its tasks take.
        directory: of the cluster, kept up to date.
        traffic: is added to.
    """

    def __init__(
        self,
        id: bytes,  # noqa: A002 - as everywhere
        settings: NodeSettings,
        slowness: float,
        directory: Directory,
        traffic: Traffic,
    ) -> None:
        self.id = id
        self.slowness = slowness
        self.resources: Mapping[str, int] = {"CPU": settings.slots * UNIT}
        self.queue = LeaseQueue(self.resources, settings.memory)
        self.tasks: dict[int, Task] = {}
        self.run_times = RunTimes()
        self.alive = True
        self.report_due = False
        #: when its network cards and its disk will have done what they were asked for
        self.sent_until = self._received_until = self._read_until = 0.0
        self._settings = settings
        self._directory = directory
        self._traffic = traffic
        #: objects in memory, the one that was read longest ago first
        self._memory: OrderedDict[bytes, int] = OrderedDict()
        self._disk: dict[bytes, int] = {}
        self._used = 0
        #: objects that are still on their way into memory, and when they will be there
        self._arriving: dict[bytes, float] = {}

    def load(self, now: float) -> Load:
        """Return what the node would report."""
        settings = self._settings
        free = max(settings.memory - self._used, 0)
        inbound = max(self._received_until - now, 0.0) * settings.network
        run_time = self.run_times.expected(now)
        return Load(len(self.tasks), settings.slots, run_time, free, int(inbound))

    def objects(self) -> list[bytes]:
        """Return the objects that it has."""
        return [*self._memory, *self._disk]

    def store(self, object_id: bytes, size: int) -> None:
        """Have an object in memory."""
        self._memory[object_id] = size
        self._used += size
        self._directory.put(object_id, self.id, in_memory=True)
        self._make_room()

    def forget(self, object_id: bytes) -> None:
        """Have an object no more."""
        self._disk.pop(object_id, None)
        self._used -= self._memory.pop(object_id, 0)
        self._arriving.pop(object_id, None)

    def bring(self, object_id: bytes, size: int, now: float, nodes: Mapping[bytes, Node]) -> float:
        """Have an object in memory for a task; return when it will be there."""
        if object_id in self._memory:
            self._memory.move_to_end(object_id)
            self._traffic.local += size
            there = self._arriving.get(object_id, now)
            if there <= now:
                self._arriving.pop(object_id, None)
            return there
        if object_id in self._disk:
            self._traffic.local += size
            there = self._read_from_disk(size, now)
            del self._disk[object_id]
        else:
            there = self._pull(object_id, size, now, nodes)
        self._arriving[object_id] = there
        self.store(object_id, size)
        return there

    def can_send_from(self, object_id: bytes, begin: float) -> float:
        """When it could begin to send an object that is in memory, or on its way there."""
        return max(begin, self.sent_until, self._arriving.get(object_id, begin))

    def send(self, object_id: bytes, size: int, begin: float) -> tuple[float, float]:
        """Send an object to another node; return when that begins, and when it is done."""
        if object_id in self._memory:
            begin = max(begin, self._arriving.get(object_id, begin))
        else:
            begin = self._read_from_disk(size, begin)
        self.sent_until = max(begin, self.sent_until) + size / self._settings.network
        return begin, self.sent_until

    def _pull(self, object_id: bytes, size: int, now: float, nodes: Mapping[bytes, Node]) -> float:
        """Get an object from the node that can send it soonest, or else from its source."""
        settings = self._settings
        self._traffic.moved += size
        begin = now + settings.latency
        copies = self._directory.copies(object_id)
        senders = [node for node, is_in_memory in copies.items() if is_in_memory] or list(copies)
        sent = begin
        if senders:
            soonest = nodes[senders[0]]
            if len(senders) > 1:
                able = map(nodes.__getitem__, senders)
                soonest = min(able, key=lambda node: node.can_send_from(object_id, begin))
            begin, sent = soonest.send(object_id, size, begin)
        # Each end is busy for as long as its own card takes: they serve others meanwhile.
        self._received_until = max(begin, self._received_until) + size / settings.network
        return max(sent, self._received_until)

    def _read_from_disk(self, size: int, now: float) -> float:
        """Read so many bytes; return when that will be done."""
        self._traffic.restored += size
        self._read_until = max(now, self._read_until) + size / self._settings.disk
        return self._read_until

    def _make_room(self) -> None:
        """Drop what others have as well, and spill the rest, the least recently read first."""
        if self._used <= self._settings.memory:
            return
        excess = self._used - self._settings.memory
        going = []
        for object_id, size in self._memory.items():
            if excess <= 0:
                break
            if object_id not in self.queue.admission:
                going.append((object_id, size))
                excess -= size
        for object_id, size in going:
            self.forget(object_id)
            if len(self._directory.copies(object_id)) > 1:
                self._directory.drop(object_id, self.id)
            else:
                self._disk[object_id] = size
                self._traffic.spilled += size
                self._directory.put(object_id, self.id, in_memory=False)
