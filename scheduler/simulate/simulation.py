"""Lets a workload happen on a described cluster, event by event."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ..placement import Rates
from ..requests import Grant, Request
from ..resources import pack_shape
from ..spillback import Waiting, handed_on
from .directory import Directory
from .node import Node, NodeSettings, Traffic
from .policies import Policy
from .workloads import SHAPE, Task, Workload

__all__ = ["ClusterSettings", "Outcome", "simulate"]

_PACKED: Final = pack_shape(SHAPE)
_OWNER: Final = b"driver"
#: Tasks that the driver has submitted and that have not ended, in times of the slots.
_AHEAD: Final = 2


@dataclass(slots=True, frozen=True)
class ClusterSettings:
    """A cluster and what befalls it.

    Attributes:
        nodes: how many.
        node: what each is like.
        stragglers: part of the nodes on which everything takes five times as long.
        losses: how many nodes are lost, one after the other, while the work is done.
        first_loss: seconds after the start at which the first one is lost.
        loss_interval: seconds between two losses.
        report_interval: seconds between two reports of a node's load.
        seed: of all random choices.
    """

    nodes: int = 1000
    node: NodeSettings = field(default_factory=NodeSettings)
    stragglers: float = 0.0
    losses: int = 0
    first_loss: float = 1.0
    loss_interval: float = 0.5
    report_interval: float = 0.1
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """What happened.

    Attributes:
        makespan: simulated seconds until the last task ended.
        least: seconds that the tasks themselves would take on all slots, evenly.
        tasks: that ended; those that were run again count again.
        handed_on: tasks that a node handed on to another.
        decisions: how often the policy was asked.
        decision_seconds: real seconds that it took, all together.
        traffic: bytes.
    """

    makespan: float = 0.0
    least: float = 0.0
    tasks: int = 0
    handed_on: int = 0
    decisions: int = 0
    decision_seconds: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)


def simulate(
    settings: ClusterSettings,
    workload: Workload,
    policy: Policy,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Run a workload to its end.

    Args:
        settings: the cluster.
        workload: its tasks are used up.
        policy: makes who decides.
        clock: real time in seconds, to measure the decisions with.
    """
    return _Simulation(settings, workload, policy, clock).run()


class _Simulation:
    def __init__(
        self,
        settings: ClusterSettings,
        workload: Workload,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = random.Random(settings.seed)  # noqa: S311 - a simulation
        self._policy = policy(Rates(settings.node.network, settings.node.disk), self._rng)
        self._outcome = Outcome()
        self._directory = Directory(keep_lineage=settings.losses > 0)
        self._now = 0.0
        self._serial = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._coming: Iterator[Task] = workload.tasks
        self._unfinished: dict[int, Task] = {}
        #: object that does not exist -> tasks that wait for it
        self._waiting: dict[bytes, list[Task]] = {}
        #: finished tasks that run again for a result that was lost
        self._rebuilding: set[int] = set()
        self._nodes = self._make_nodes()
        ids = list(self._nodes)
        for block in workload.blocks:
            self._directory.make(block)
            self._nodes[self._rng.choice(ids)].store(block.id, block.size)
        self._outcome.traffic.spilled = 0  # what lies on disks from the start

    def _make_nodes(self) -> dict[bytes, Node]:
        nodes = {}
        for index in range(self._settings.nodes):
            slowness = 5.0 if index < self._settings.stragglers * self._settings.nodes else 1.0
            node = Node(
                b"node" + index.to_bytes(4),
                self._settings.node,
                slowness,
                self._directory,
                self._outcome.traffic,
            )
            nodes[node.id] = node
            self._policy.join(node.id, node.resources, node.load(self._now))
        return nodes

    def run(self) -> Outcome:
        self._submit_more()
        for index in range(self._settings.losses):
            when = self._settings.first_loss + index * self._settings.loss_interval
            self._at(when, self._lose_a_node)
        while self._unfinished:
            assert self._events, "tasks wait for ever"
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        self._outcome.makespan = self._now
        slots = self._settings.nodes * self._settings.node.slots
        self._outcome.least /= slots
        return self._outcome

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._serial), happen))

    # --- the driver ------------------------------------------------------------------------------

    def _submit_more(self) -> None:
        most = _AHEAD * self._settings.nodes * self._settings.node.slots
        while len(self._unfinished) < most:
            task = next(self._coming, None)
            if task is None:
                return
            self._outcome.least += task.seconds
            self._directory.expect(task)
            self._submit(task)

    def _submit(self, task: Task) -> None:
        """Place a task once all of its arguments exist; those that were lost are made again."""
        self._unfinished[task.key] = task
        task.attempt += 1
        task.moves = 0
        task.lacking = 0
        lost = []
        for object_id in task.arguments:
            if not self._directory.exists(object_id):
                task.lacking += 1
                self._waiting.setdefault(object_id, []).append(task)
                lost.append(object_id)
        if task.lacking:
            self._rebuild(lost)
        else:
            self._place(task)

    def _rebuild(self, lost: list[bytes]) -> None:
        while lost:
            maker = self._directory.maker(lost.pop())
            if maker.key in self._unfinished:
                continue
            for object_id in maker.arguments:
                self._directory.read_again(object_id)
            self._rebuilding.add(maker.key)
            self._submit(maker)

    def _place(self, task: Task) -> None:
        node = self._ask(lambda: self._policy.choose(task.need, self._directory.copies))
        assert node is not None, "no node is left"
        self._policy.sent(node)
        self._send(task, node)

    def _send(self, task: Task, node: bytes) -> None:
        attempt = task.attempt
        arrival = self._now + self._settings.node.latency
        self._at(arrival, lambda: self._arrive(task, attempt, self._nodes[node]))

    def _ask(self, question: Callable[[], bytes | None]) -> bytes | None:
        begin = self._clock()
        answer = question()
        self._outcome.decision_seconds += self._clock() - begin
        self._outcome.decisions += 1
        return answer

    # --- the nodes -------------------------------------------------------------------------------

    def _arrive(self, task: Task, attempt: int, node: Node) -> None:
        if task.attempt != attempt:
            return
        if not node.alive:
            self._submit(task)
            return
        node.tasks[task.key] = task
        if self._hand_on(node, [task], arriving=True):
            return
        node.queue.add(
            Request(
                task.key,
                _OWNER,
                _PACKED,
                task.key,
                arguments=task.arguments,
                output=task.need.output,
            )
        )
        self._grant(node)
        self._report_soon(node)

    def _hand_on(self, node: Node, waiting: Iterable[Task], *, arriving: bool = False) -> int:
        """Hand tasks on from a node where others are much better; return how many."""
        candidates = (
            Waiting(task.key, task.need, self._directory.copies, task.moves) for task in waiting
        )
        begin = self._clock()
        load = node.load(self._now)
        moved = list(handed_on(self._policy, node.id, load, candidates, arriving=arriving))
        self._outcome.decision_seconds += self._clock() - begin
        self._outcome.decisions += 1
        for key, better in moved:
            assert isinstance(key, int)
            task = node.tasks.pop(key)
            node.queue.withdraw(key)
            task.moves += 1
            self._outcome.handed_on += 1
            self._send(task, better)
        return len(moved)

    def _grant(self, node: Node) -> None:
        progress = True
        while progress:
            progress = False
            for grant in node.queue.next_grants(self._settings.node.slots):
                progress = self._begin(grant, node) or progress

    def _begin(self, grant: Grant, node: Node) -> bool:
        """Let a task run; False when an argument was lost, and others may have its slot."""
        assert isinstance(grant.key, int)
        task = node.tasks[grant.key]
        if not all(map(self._directory.exists, task.arguments)):
            del node.tasks[task.key]
            node.queue.release(task.key)
            self._submit(task)
            return True
        there = self._now
        for object_id, size in task.arguments.items():
            there = max(there, node.bring(object_id, size, self._now, self._nodes))
        attempt = task.attempt
        if there > self._now:
            self._at(there, lambda: self._run(task, attempt, node))
        else:
            self._run(task, attempt, node)
        return False

    def _run(self, task: Task, attempt: int, node: Node) -> None:
        node.run_times.begin(task.key, self._now)
        end = self._now + task.seconds * node.slowness
        self._at(end, lambda: self._end(task, attempt, node))

    def _end(self, task: Task, attempt: int, node: Node) -> None:
        if task.attempt != attempt:
            return
        node.run_times.end(task.key, self._now)
        node.queue.release(task.key)
        del node.tasks[task.key], self._unfinished[task.key]
        self._outcome.tasks += 1
        again = task.key in self._rebuilding
        self._rebuilding.discard(task.key)
        for made in task.outputs:
            missing = not again or not self._directory.copies(made.id)
            if missing and self._directory.make(made):
                node.store(made.id, made.size)
            self._resolve(made.id)
        for object_id in task.arguments:
            for holder in self._directory.read(object_id):
                self._nodes[holder].forget(object_id)
        self._grant(node)
        self._report_soon(node)
        self._submit_more()

    def _resolve(self, object_id: bytes) -> None:
        for task in self._waiting.pop(object_id, ()):
            task.lacking -= 1
            if not task.lacking:
                self._submit(task)

    def _report_soon(self, node: Node) -> None:
        if not node.report_due:
            node.report_due = True
            self._at(self._now + self._settings.report_interval, lambda: self._report(node))

    def _report(self, node: Node) -> None:
        node.report_due = False
        if not node.alive:
            return
        granted = node.queue.grants
        if len(node.tasks) > len(granted):
            waiting = (key for key in reversed(node.tasks) if key not in granted)
            self._hand_on(node, (node.tasks[key] for key in waiting))
            self._report_soon(node)
        self._policy.report(node.id, node.load(self._now))

    def _lose_a_node(self) -> None:
        alive = [node for node in self._nodes.values() if node.alive]
        if len(alive) == 1:
            return
        node = self._rng.choice(alive)
        node.alive = False
        self._policy.leave(node.id)
        for object_id in node.objects():
            self._directory.drop(object_id, node.id)
        for task in list(node.tasks.values()):
            self._submit(task)
        node.tasks.clear()
