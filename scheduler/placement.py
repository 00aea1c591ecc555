"""Where a task should run: on the node that can begin it soonest. Pure.

What a node would cost a task is estimated in seconds, so that its parts can be added: the wait for
a slot, the arguments that have to come over the network, those that have to be read from its disk,
and what must be spilled there to make room. Bytes that are in the node's memory cost nothing: that
is locality.

A decision looks at a bounded number of nodes, however many there are: those that hold most of the
arguments, and a few at random. The shorter of two queues picked at random is nearly as short as the
shortest of all (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).

Not covered: when the node runs it (`queue`), how the bytes get there, who knows the locations.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .resources import UNIT, covers

__all__ = ["Copies", "Load", "Need", "Placement", "Rates"]

#: Where an object is: node -> whether it is in that node's memory, and not only on its disk.
Copies = Mapping[bytes, bool]

#: Copies of one object that are looked at; an object that has more is near everywhere.
_COPIES: Final = 8
#: Nodes that are compared because they hold arguments; two more are drawn.
_HOLDERS: Final = 4
#: Nodes that are looked at for a free slot.
_SPREAD: Final = 8
#: Shapes of which it is known which nodes can run them; of a new one it is found out, once.
_SHAPES: Final = 64
#: Moving bytes keeps others from moving theirs: it costs more than the time that it takes.
_BURDEN: Final = 8
#: Seconds that tasks are taken to run as long as nobody knows: else the first ones, all sent at
#: once, would queue wherever their arguments are.
_GUESS: Final = 1.0
#: What a queue costs up to the length that all nodes have on average, of what it costs beyond: to
#: wait there is no loss, since the work is as far behind elsewhere.
_FAIR_SHARE: Final = 0.01
#: Bytes in memory, and bytes on disk only, of a node that has neither.
_NOTHING: Final = (0, 0)
#: A node sends a task on where it would cost less than this part of the cost here.
_MUCH_LESS: Final = 0.5


@dataclass(slots=True, frozen=True)
class Rates:
    """What moving bytes costs.

    Attributes:
        network: bytes per second that a node receives.
        disk: bytes per second that a node spills or restores.
    """

    network: float
    disk: float


@dataclass(slots=True, frozen=True)
class Load:
    """What a node reports of itself.

    Attributes:
        tasks: how many run or wait there, actors that hold CPUs not counted.
        slots: how many it can run side by side, beside the actors that hold CPUs.
        run_time: seconds that its tasks take (`run_times`); 0 when none has run.
        free_memory: bytes that can be stored there before something must be spilled.
        inbound: bytes that it is still to receive.
        asked: how often others asked it for something. A load that is the same again after that is
            another one, and has to be told: who asked has counted on it meanwhile.
    """

    tasks: int
    slots: int
    run_time: float
    free_memory: int
    inbound: int = 0
    asked: int = 0


@dataclass(slots=True, frozen=True)
class Need:
    """What a task needs.

    Attributes:
        shape: resources in counted units (`resources`).
        arguments: stored arguments, object -> bytes.
        output: bytes that it is expected to store.
    """

    shape: Mapping[str, int]
    arguments: Mapping[bytes, int]
    output: int = 0


class _Node:
    __slots__ = ("load", "resources", "sent")

    def __init__(self, resources: Mapping[str, int], load: Load) -> None:
        self.resources = resources
        self.load = load
        #: tasks sent there since the load was reported
        self.sent = 0

    def can_run(self, shape: Mapping[str, int]) -> bool:
        """Whether it has such resources, and actors have left it the slots that are needed."""
        if not covers(self.resources, shape):
            return False
        cpu = shape.get("CPU", 0)
        return not cpu or self.load.slots >= max(cpu // UNIT, 1)


class _Roster:
    """The nodes that can run a shape, to draw from in a time that does not depend on how many."""

    def __init__(self, shape: Mapping[str, int], nodes: Iterable[bytes]) -> None:
        self.shape = shape
        self.nodes = list(nodes)
        self._places = {node: place for place, node in enumerate(self.nodes)}

    def __contains__(self, node: bytes) -> bool:
        return node in self._places

    def put(self, node: bytes, *, able: bool) -> None:
        """A node can run the shape from now on, or cannot."""
        if able == (node in self._places):
            return
        if able:
            self._places[node] = len(self.nodes)
            self.nodes.append(node)
            return
        place, last = self._places.pop(node), self.nodes.pop()
        if last != node:
            self.nodes[place] = last
            self._places[last] = place

    def draw(self, rng: random.Random) -> list[bytes]:
        """Return two nodes, or as many as there are."""
        nodes = self.nodes
        if len(nodes) <= 2:
            return nodes.copy()
        first = int(rng.random() * len(nodes))
        second = int(rng.random() * (len(nodes) - 1))
        return [nodes[first], nodes[second + (second >= first)]]


class Placement:
    """What one process knows of the nodes, and its choices among them.

    Args:
        rates: of the cluster.
        rng: for the draws.
    """

    def __init__(self, rates: Rates, rng: random.Random) -> None:
        self._rates = rates
        self._rng = rng
        self._nodes: dict[bytes, _Node] = {}
        #: the last shapes that were asked for
        self._rosters: dict[tuple[tuple[str, int], ...], _Roster] = {}
        #: of all nodes, as far as it is known
        self._tasks = self._slots = 0

    # --- events ------------------------------------------------------------------------------

    def join(self, node: bytes, resources: Mapping[str, int], load: Load) -> None:
        """There is a new node, with these resources in counted units."""
        assert node not in self._nodes, node
        known = self._nodes[node] = _Node(resources, load)
        self._count(load, 1)
        self._enlist(node, known)

    def leave(self, node: bytes) -> None:
        """A node is no more."""
        known = self._nodes.pop(node)
        self._count(known.load, -1)
        self._tasks -= known.sent
        for roster in self._rosters.values():
            roster.put(node, able=False)

    def report(self, node: bytes, load: Load) -> None:
        """A node said how much it has to do, everything included that was sent there."""
        known = self._nodes.get(node)
        if known is not None:
            self._count(known.load, -1)
            self._count(load, 1)
            self._tasks -= known.sent
            before, known.load = known.load, load
            known.sent = 0
            if load.slots != before.slots:
                self._enlist(node, known)

    def sent(self, node: bytes) -> None:
        """A task was sent to a node, which its next report will count."""
        self._nodes[node].sent += 1
        self._tasks += 1

    def _enlist(self, node: bytes, known: _Node) -> None:
        for roster in self._rosters.values():
            roster.put(node, able=known.can_run(roster.shape))

    def _count(self, load: Load, times: int) -> None:
        self._tasks += times * load.tasks
        self._slots += times * load.slots

    # --- decisions -----------------------------------------------------------------------------

    def choose(
        self, need: Need, copies: Callable[[bytes], Copies], coming: int = 0
    ) -> bytes | None:
        """Return the node for a task; None when no node has such resources.

        Args:
            need: of the task.
            copies: tells where an object is.
            coming: how many tasks are about to be placed after it.
        """
        held = _Held(need.arguments, copies)
        return self._cheapest(need, held, self._candidates(need, held), self._level(coming))

    def better_than(
        self,
        node: bytes,
        load: Load,
        need: Need,
        copies: Callable[[bytes], Copies],
        *,
        moves: int = 0,
        stuck: bool = False,
    ) -> bytes | None:
        """Return a node to which a task should rather have been sent, where one is much better.

        Args:
            node: where it is; it is asked there, as a node knows its own load best.
            load: of that node, the task included unless it is stuck.
            need: of the task.
            copies: tells where an object is.
            moves: how often it was sent on: each time a node has to be better by as much again.
            stuck: it may never begin there.
        """
        others = load.tasks if stuck else load.tasks - 1
        if others < load.slots and not stuck:
            return None
        held = _Held(need.arguments, copies)
        here = self._cost(need, held, node, load, others)
        much_less = _MUCH_LESS ** (1 + moves) * here
        if not stuck and self._least_elsewhere(held, node) >= much_less:
            return None
        elsewhere = [other for other in self._candidates(need, held) if other != node]
        best = self._cheapest(need, held, elsewhere)
        if best is None or stuck:
            return best
        known = self._nodes[best]
        there = self._cost_of(need, held, best)
        longer = (known.load.run_time or load.run_time) - load.run_time
        if longer > 0 and there + longer >= here:
            return None  # it is slow, and may be idle because of that
        return best if there < much_less else None

    def cost(self, node: bytes, need: Need, copies: Callable[[bytes], Copies]) -> float:
        """Return what a node costs a task in seconds, as `choose` compares it."""
        return self._cost_of(need, _Held(need.arguments, copies), node, self._level(0))

    def can_run(self, node: bytes, shape: Mapping[str, int]) -> bool:
        """Whether a node has such resources, and actors have left it the slots that are needed."""
        return node in self._able(shape)

    def free_slots(self, shape: Mapping[str, int], but: bytes) -> dict[bytes, int]:
        """Return a few nodes that could run something at once, and how much, in random order.

        Args:
            shape: that they must have; not empty.
            but: a node that is not asked for.
        """
        nodes = self._able(shape).nodes
        free = {}
        for node in self._rng.sample(nodes, min(_SPREAD, len(nodes))):
            if node == but:
                continue
            known = self._nodes[node]
            slots = known.load.slots - known.load.tasks - known.sent
            if not shape.get("CPU"):  # how busy the CPUs are is no matter
                slots = min(known.resources[name] // needed for name, needed in shape.items())
            if slots > 0:
                free[node] = slots
        return free

    def _level(self, coming: int) -> float:
        """Return how many tasks each slot has on average, those included that are coming."""
        return (self._tasks + coming) / max(self._slots, 1)

    def _candidates(self, need: Need, held: _Held) -> list[bytes]:
        """Return a few nodes that can run a task, in random order."""
        able = self._able(need.shape)
        nodes = [node for node in held.most(_HOLDERS) if node in able]
        nodes += able.draw(self._rng)
        nodes = list(dict.fromkeys(nodes))
        if len(nodes) > 1:
            self._rng.shuffle(nodes)
        return nodes

    def _able(self, shape: Mapping[str, int]) -> _Roster:
        """Return the nodes that can run a shape."""
        key = tuple(shape.items())
        roster = self._rosters.get(key)
        if roster is None:
            able = (node for node, known in self._nodes.items() if known.can_run(shape))
            if len(self._rosters) == _SHAPES:
                del self._rosters[next(iter(self._rosters))]
            roster = self._rosters[key] = _Roster(dict(shape), able)
        return roster

    def _cheapest(
        self, need: Need, held: _Held, candidates: Sequence[bytes], level: float = 0.0
    ) -> bytes | None:
        best, least = None, 0.0
        for node in candidates:
            cost = self._cost_of(need, held, node, level)
            if best is None or cost < least:
                best, least = node, cost
        return best

    def _cost_of(self, need: Need, held: _Held, node: bytes, level: float = 0.0) -> float:
        known = self._nodes[node]
        tasks = known.load.tasks + known.sent
        return self._cost(need, held, node, known.load, tasks, level=level)

    def _cost(
        self,
        need: Need,
        held: _Held,
        node: bytes,
        load: Load,
        tasks: int,
        *,
        level: float = 0.0,
    ) -> float:
        """Return the cost of a node with so many tasks, `level` being the average of all a slot."""
        in_memory, on_disk = held.at(node)
        missing = held.total - in_memory - on_disk
        overflow = missing + on_disk + need.output - load.free_memory
        slots = load.slots or 1
        wait = tasks - slots + 1
        cost = (load.inbound + _BURDEN * missing) / self._rates.network
        if wait > 0:
            beyond = min(max(tasks - slots * level, 0), wait)
            counted = beyond + _FAIR_SHARE * (wait - beyond)
            cost += counted * (load.run_time or _GUESS) / slots
        if on_disk or overflow > 0:
            cost += (on_disk + max(overflow, 0)) / self._rates.disk
        return cost

    def _least_elsewhere(self, held: _Held, node: bytes) -> float:
        """Return what a task costs on any other node at least."""
        return _BURDEN * (held.total - held.most_elsewhere(node)) / self._rates.network

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree."""
        nodes = self._nodes.values()
        assert self._tasks == sum(known.load.tasks + known.sent for known in nodes)
        assert self._slots == sum(known.load.slots for known in nodes)
        for roster in self._rosters.values():
            able = [node for node, known in self._nodes.items() if known.can_run(roster.shape)]
            assert sorted(roster.nodes) == sorted(able), roster.shape


class _Held:
    """How many bytes of a task's arguments each node holds."""

    __slots__ = ("_nodes", "_widespread", "total")

    def __init__(self, arguments: Mapping[bytes, int], copies: Callable[[bytes], Copies]) -> None:
        self.total = 0
        #: node -> bytes in memory, bytes on disk only
        self._nodes: dict[bytes, tuple[int, int]] = {}
        #: objects with more copies than are looked at
        self._widespread: list[tuple[int, Copies]] = []
        nodes = self._nodes
        for object_id, size in arguments.items():
            self.total += size
            found = copies(object_id)
            if len(found) > _COPIES:
                self._widespread.append((size, found))
                continue
            for node, in_memory in found.items():
                memory, disk = nodes.get(node, _NOTHING)
                nodes[node] = (memory + size, disk) if in_memory else (memory, disk + size)
        for _, found in self._widespread:
            for node in islice(found, _COPIES):
                nodes.setdefault(node, _NOTHING)

    def most(self, count: int) -> list[bytes]:
        """Return the nodes that hold most, memory before disk."""
        nodes = self._nodes
        if len(nodes) <= count:
            return list(nodes)
        return sorted(nodes, key=self._worth, reverse=True)[:count]

    def most_elsewhere(self, node: bytes) -> int:
        """Return how many bytes a node may hold that is not this one, at most."""
        most = 0
        for other, (memory, disk) in self._nodes.items():
            if memory + disk > most and other != node:
                most = memory + disk
        for size, _ in self._widespread:
            most += size
        return most

    def _worth(self, node: bytes) -> tuple[int, int]:
        memory, disk = self.at(node)
        return memory + disk, memory

    def at(self, node: bytes) -> tuple[int, int]:
        """Return the bytes in a node's memory, and those only on its disk."""
        memory, disk = self._nodes.get(node, _NOTHING)
        for size, found in self._widespread:
            in_memory = found.get(node)
            if in_memory:
                memory += size
            elif in_memory is not None:
                disk += size
        return memory, disk
