"""What the monitor decides: by example, by rule, and in a simulated node where all must finish."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millpond.owner.memory_demand import MemoryDemand
from millpond.owner.tasks import PendingTask
from millpond.scheduler.learned import GRAIN, coarse
from millpond.scheduler.memory_monitor import (
    KEPT,
    NOTABLE,
    SLACK,
    Cause,
    Kill,
    Limit,
    MemoryMonitor,
    Role,
    Usage,
)
from millpond.scheduler.queue import Kind, LeaseQueue, Request
from millpond.scheduler.resources import UNIT, pack_shape
from millpond.wire.messages import OutOfMemory

MIB = 1 << 20
#: bytes that a simulated task adds at most between two samples
GROWTH = 24 * MIB


def task(key: str, used: int, order: int = 0, **more: object) -> Usage:
    return Usage(key.encode(), used * MIB, order=order, **{"added": used * MIB, **more})  # type: ignore[arg-type]


def full(*workers: Usage) -> Kill | None:
    """What is decided when memory is used up."""
    return MemoryMonitor().decide(workers, [Limit("all", 1001, 1000)])


def victim(*workers: Usage) -> str:
    kill = full(*workers)
    assert kill is not None
    return kill.victim.key.decode()


def test_nobody_is_stopped_below_the_limit() -> None:
    monitor = MemoryMonitor()
    assert monitor.decide([task("a", 1 << 20)], [Limit("all", 1000, 1000)]) is None
    assert monitor.decide([task("a", 1 << 20)], []) is None


def test_the_newest_task_is_stopped() -> None:
    assert victim(task("old", 900, 1), task("new", 100, 2)) == "new"


def test_idle_workers_and_then_tasks_go_before_actors() -> None:
    actor = task("actor", 900, 3, role=Role.ACTOR)
    idle = task("idle", 4, role=Role.IDLE)
    assert victim(actor, task("task", 100, 1), idle) == "idle"
    assert victim(actor, task("task", 100, 1)) == "task"
    assert victim(actor) == "actor"


def test_who_may_be_run_again_goes_before_who_may_not() -> None:
    once = task("once", 900, 2, retriable=False)
    assert victim(once, task("again", 100, 1)) == "again"
    assert victim(once) == "once"
    assert victim(once, task("actor", 900, 3, role=Role.ACTOR)) == "once"


def test_who_keeps_to_what_was_reserved_is_stopped_last() -> None:
    keeps = task("keeps", 900, 5, reserved=1000 * MIB)
    much = task("much over", 300, 1, reserved=200 * MIB)
    little = task("little over", 100, 2, reserved=90 * MIB)
    assert victim(keeps, much, little) == "much over"
    assert victim(keeps, little) == "little over"
    assert victim(keeps) == "keeps"


def test_what_is_small_is_left_alone() -> None:
    assert full(task("a", NOTABLE // MIB - 1)) is None
    assert full(task("a", NOTABLE // MIB)) is not None


@pytest.mark.parametrize(
    ("other", "alone"),
    [
        (task("b", 16), False),
        (task("b", 15), True),
        (task("b", 3, role=Role.IDLE), True),
        (task("b", 500, role=Role.ACTOR), True),
    ],
)
def test_whether_a_task_was_stopped_alone(other: Usage, *, alone: bool) -> None:
    kill = full(task("a", 900, 1), other)
    assert kill is not None
    assert (kill.victim.key, kill.alone) == (b"a", alone)


def test_a_task_is_not_to_blame_for_what_its_worker_kept() -> None:
    kept = full(task("a", 900, added=(900 - 16) * MIB))
    assert kept is not None
    assert not kept.alone


def test_more_than_was_declared_is_not_had_even_when_there_is_plenty() -> None:
    keeps = task("keeps", 500, 3, declared=100 * MIB, added=100 * MIB + SLACK)
    over = task("over", 300, 1, declared=100 * MIB, added=100 * MIB + SLACK + 1)
    worst = task("worst", 200, 1, declared=10 * MIB, added=200 * MIB)
    plenty = [Limit("all", 0, 1000)]
    assert MemoryMonitor().decide([keeps], plenty) is None
    kill = MemoryMonitor().decide([keeps, over], plenty)
    assert kill is not None
    assert (kill.victim, kill.cause) == (over, Cause.DECLARED)
    assert kill.limit.limit == 100 * MIB
    assert victim(keeps, over, worst, task("new", 100, 9)) == "worst"


def test_nobody_else_is_stopped_before_the_last_one_is_gone() -> None:
    monitor = MemoryMonitor()
    a, b = task("a", 900, 1), task("b", 100, 2)
    limits = [Limit("all", 2, 1)]
    first = monitor.decide([a, b], limits)
    assert first is not None
    assert first.victim is b
    assert monitor.decide([a, b], limits) is None
    second = monitor.decide([a], limits)
    assert second is not None
    assert second.victim is a


def test_the_first_limit_that_is_passed_is_named() -> None:
    limits = [Limit("tasks", 5, 10), Limit("container", 11, 10), Limit("machine", 11, 10)]
    kill = MemoryMonitor().decide([task("a", 100)], limits)
    assert kill is not None
    assert kill.limit is limits[1]


def test_samples_are_taken_more_often_near_a_limit() -> None:
    monitor = MemoryMonitor()
    pauses = [monitor.interval([Limit("all", used, 100)]) for used in range(0, 200, 5)]
    assert pauses == sorted(pauses, reverse=True)
    assert monitor.interval([]) == pauses[0] == 0.1
    assert pauses[-1] == pytest.approx(0.01)
    assert monitor.interval([Limit("far", 0, 100), Limit("near", 95, 100)]) == pauses[19]


usages = st.builds(
    Usage,
    key=st.binary(min_size=2, max_size=2),
    used=st.integers(0, 100 * NOTABLE),
    role=st.sampled_from(Role),
    order=st.integers(0, 99),
    reserved=st.sampled_from([0, GRAIN, 100 * NOTABLE]),
    declared=st.sampled_from([0, 0, GRAIN]),
    added=st.integers(0, 3 * GRAIN),
    retriable=st.booleans(),
)
samples = st.lists(usages, max_size=8, unique_by=(lambda u: u.key, lambda u: u.order))


@given(st.lists(st.tuples(samples, st.integers(0, 200)), max_size=20))
def test_every_decision_keeps_the_rules(steps: list[tuple[list[Usage], int]]) -> None:
    monitor = MemoryMonitor()
    dying = None
    for workers, used in steps:
        kill = monitor.decide(workers, [Limit("all", used, 100)])
        in_flight = any(worker.key == dying for worker in workers)
        if kill is None:
            if not in_flight:
                dying = None
                assert used <= 100 or all(worker.used < least(worker) for worker in workers)
            continue
        assert not in_flight, "one at a time"
        dying = kill.victim.key
        assert kill.victim in workers
        if kill.cause is Cause.DECLARED:
            assert kill.victim.added > kill.victim.declared + SLACK
            continue
        assert used > 100
        check_choice(kill, [worker for worker in workers if worker.used >= least(worker)])


def least(worker: Usage) -> int:
    return KEPT if worker.role is Role.IDLE else NOTABLE


def check_choice(kill: Kill, workers: Sequence[Usage]) -> None:
    """Nobody who should have gone first was spared."""
    chosen = kill.victim
    others = [worker for worker in workers if worker is not chosen]
    tasks = [worker for worker in others if worker.role is Role.TASK]
    assert (kill.cause is Cause.KEPT) == (chosen.role is Role.IDLE)
    if chosen.role is Role.IDLE:
        return
    assert not [worker for worker in others if worker.role is Role.IDLE]
    assert not (kill.alone and tasks)
    if chosen.role is Role.ACTOR:
        assert not tasks
        return
    if not chosen.retriable:
        assert not [worker for worker in tasks if worker.retriable]
    for other in tasks:
        if other.retriable == chosen.retriable and other.order > chosen.order:
            assert other.used < other.reserved + GRAIN or chosen.used < chosen.reserved + GRAIN
            assert chosen.used - chosen.reserved > min(0, other.used - other.reserved)


class Node:
    """A node in miniature: the real queue, monitor and policy, and tasks that only grow."""

    def __init__(self, budget: int, slots: int, peaks: Sequence[int], rng: random.Random) -> None:
        self.budget, self.rng = budget, rng
        self.queue = LeaseQueue({"CPU": slots * UNIT, "memory": budget * UNIT}, 0)
        self.monitor = MemoryMonitor()
        self.demand = MemoryDemand()
        self.waiting: dict[bytes, PendingTask] = {}
        self.peaks: dict[bytes, int] = {}
        self.used: dict[bytes, int] = {}
        #: killed, but not gone yet
        self.dying: bytes | None = None
        self.alone, self.steps_to_live = False, 0
        self.finished: set[bytes] = set()
        self.most = 0
        for number, peak in enumerate(peaks):
            task_id = b"%08d%08d" % (0, number)
            # Tasks of one function need about as much, or not at all.
            name = f"f{peak // GRAIN if rng.random() < 0.8 else 0}"
            shape = pack_shape({"CPU": UNIT})
            pending = PendingTask(task_id, b"function", name, shape, retries_left=3)
            self.peaks[task_id] = peak
            self.submit(pending)

    def submit(self, pending: PendingTask) -> None:
        shape = self.demand.shape(pending, self.budget)
        self.waiting[pending.task_id] = pending
        key = (pending.task_id, pending.stops)
        self.queue.add(Request(key, b"owner", shape, int(pending.task_id), Kind.TASK))

    def run(self) -> None:
        for grant in self.queue.next_grants(100):
            self.used[grant.key[0]] = 0  # type: ignore[index]
        for task_id in list(self.used):
            if task_id != self.dying:
                self.grow(task_id)
        usages = [self.usage(order, key) for order, key in enumerate(self.queue.grants)]
        total = sum(self.used.values())
        self.most = max(self.most, total)
        if self.dying is not None:
            self.steps_to_live -= 1
            if self.steps_to_live == 0:
                self.buried(self.dying)
        kill = self.monitor.decide(usages, [Limit("all", total, self.budget)])
        if kill is not None:
            assert self.dying is None
            self.dying, self.alone, self.steps_to_live = kill.victim.key, kill.alone, 2
        self.queue.validate()

    def grow(self, task_id: bytes) -> None:
        pending = self.waiting[task_id]
        if self.used[task_id] >= self.peaks[task_id]:
            self.end(pending)
            self.finished.add(task_id)
            if self.demand.learn(pending, self.peaks[task_id]):
                self.queue.reshape(
                    lambda r: self.demand.shape(self.waiting[r.key[0]], self.budget)  # type: ignore[index]
                )
        else:
            growth = self.rng.randrange(GROWTH)
            self.used[task_id] = min(self.used[task_id] + growth, self.peaks[task_id])
            key = (task_id, pending.stops)
            self.queue.see_memory(key, coarse(self.used[task_id]) * UNIT)

    def usage(self, order: int, key: object) -> Usage:
        grant = self.queue.grants[key]  # type: ignore[index]
        task_id = key[0]  # type: ignore[index]
        used, reserved = self.used[task_id], grant.reserved // UNIT
        return Usage(task_id, used, order=order, reserved=reserved, added=used)

    def end(self, pending: PendingTask) -> int:
        self.queue.release((pending.task_id, pending.stops))
        del self.waiting[pending.task_id]
        return self.used.pop(pending.task_id)

    def buried(self, task_id: bytes) -> None:
        pending = self.waiting[task_id]
        used = self.end(pending)
        self.dying = None
        error = self.demand.stopped(
            pending, OutOfMemory(task_id, used, "", False, self.alone), self.budget
        )
        assert error is None, error
        self.demand.learn(pending, used)
        self.submit(pending)


@pytest.mark.parametrize("seed", range(30))
def test_tasks_that_fit_alone_all_finish(seed: int) -> None:
    rng = random.Random(seed)
    budget, slots = rng.choice([400, 1000, 3000]) * MIB, rng.randint(1, 8)
    largest = budget - slots * NOTABLE
    peaks = [rng.randint(0, largest) for _ in range(30)]
    node = Node(budget, slots, peaks, rng)
    for _ in range(60_000):
        node.run()
        if len(node.finished) == len(peaks):
            break
    assert len(node.finished) == len(peaks), f"{len(node.finished)} of {len(peaks)}"
    assert node.queue.pool.available == node.queue.pool.total


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 8),
    st.lists(st.integers(1, 896), min_size=1, max_size=12),
    st.integers(0, 1 << 30),
)
@example(3, [1, 1, 1, 35, 254, 546, 80, 250, 491, 590, 592], 0)  # small ones beside
def test_a_node_never_holds_much_more_than_the_budget(
    slots: int, sizes: list[int], seed: int
) -> None:
    node = Node(1024 * MIB, slots, [size * MIB for size in sizes], random.Random(seed))
    for _ in range(20_000):
        node.run()
        if len(node.finished) == len(sizes):
            break
    # What all of them add while one after the other is stopped, which takes three steps each, and
    # small ones, which are left alone.
    adding, small = slots * slots * GROWTH * 3, slots * NOTABLE
    assert node.most <= 1024 * MIB + adding + small
    assert len(node.finished) == len(sizes)
