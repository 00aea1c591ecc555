"""The lease pool under random events, against a model that knows where each task is."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millpond.owner.lease_pool import MAX_IN_FLIGHT, TARGET_LOAD, LeasedWorker, LeasePool
from millpond.owner.tasks import DONE, FunctionTimes, PendingTask
from millpond.wire.ids import ObjectIds, ProcessId

#: expected seconds of the tasks of each name; of "new" nothing is known until one ran
SECONDS = {"tiny": TARGET_LOAD / 50, "short": TARGET_LOAD / 3, "long": 1.0}

numbers = st.integers(0, 255)
names = st.sampled_from([*SECONDS, "new"])


class LeasePoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.times = FunctionTimes()
        for name, seconds in SECONDS.items():
            self.times.learn((b"f", name), seconds)
        self.pool = LeasePool(b"shape", self.times)
        self.ids = ObjectIds(ProcessId(b"driver-1"))
        self.now = 0.0
        self.leases = 0
        #: submitted, but an argument is missing
        self.waiting: list[PendingTask] = []
        self.ready: list[PendingTask] = []
        self.at_worker: dict[int, list[PendingTask]] = {}

    def worker(self, which: int) -> LeasedWorker:
        known = list(self.pool.workers.values())
        return known[which % len(known)]

    def busy(self, which: int) -> tuple[LeasedWorker, list[PendingTask]]:
        known = [lease for lease, tasks in self.at_worker.items() if tasks]
        lease = known[which % len(known)]
        return self.pool.workers[lease], self.at_worker[lease]

    def has_busy(self) -> bool:
        return any(self.at_worker.values())

    @rule(name=names, count=st.integers(1, 60))
    def submit(self, name: str, count: int) -> None:
        for _ in range(count):
            task = PendingTask(self.ids.reserve(1), b"f", name, b"shape")
            self.ready.append(task)
            self.pool.push(task)

    @rule(name=names)
    def submit_waiting(self, name: str) -> None:
        self.waiting.append(PendingTask(self.ids.reserve(1), b"f", name, b"shape"))

    @precondition(lambda self: self.waiting)
    @rule(which=numbers)
    def argument_arrives(self, which: int) -> None:
        task = self.waiting.pop(which % len(self.waiting))
        self.ready.append(task)
        self.pool.push(task)

    @precondition(lambda self: self.ready)
    @rule(which=numbers)
    def cancel(self, which: int) -> None:
        self.ready.pop(which % len(self.ready)).state = DONE

    @rule()
    def lease_granted(self) -> None:
        self.leases += 1
        worker = LeasedWorker(self.leases, b"worker-%d" % self.leases, None, self.now)
        self.pool.workers[self.leases] = worker
        self.at_worker[self.leases] = []
        self.pool.requested = max(self.pool.requested - 1, 0)

    @rule()
    def assign(self) -> None:
        before = {lease: list(tasks) for lease, tasks in self.at_worker.items()}
        handed = []
        for worker, tasks in self.pool.assign():
            assert tasks
            assert not worker.recalled
            assert not worker.blocked
            self.at_worker[worker.lease_id] += tasks
            handed += tasks
            if before[worker.lease_id] or len(tasks) > 1:
                assert worker.load <= TARGET_LOAD
        assert len(set(map(id, handed))) == len(handed)
        orders = [task.order for task in handed]
        assert orders == sorted(orders)
        for task in handed:
            self.ready.remove(task)
        assert all(task.order > order for task in self.ready for order in orders[-1:])
        if self.ready:
            for worker in self.pool.workers.values():
                assert worker.in_flight or worker.recalled or worker.blocked

    @precondition(has_busy)
    @rule(which=numbers, seconds=st.sampled_from([*SECONDS.values()]))
    def oldest_task_finishes(self, which: int, seconds: float) -> None:
        worker, tasks = self.busy(which)
        task = tasks.pop(0)
        self.pool.finished(worker, task, self.now)
        self.times.learn(task.group, seconds)
        worker.blocked = False

    @precondition(has_busy)
    @rule(which=numbers, count=st.integers(1, 300), blocked=st.booleans())
    def tasks_are_given_back(self, which: int, count: int, blocked: bool) -> None:
        worker, tasks = self.busy(which)
        worker.reclaiming = False
        worker.blocked = blocked
        for task in tasks[1:][-count:]:
            tasks.remove(task)
            self.pool.finished(worker, task, self.now)
            self.ready.append(task)
            self.pool.push(task)

    @precondition(lambda self: self.pool.workers)
    @rule(which=numbers)
    def lease_is_recalled(self, which: int) -> None:
        self.worker(which).recalled = True

    @precondition(lambda self: self.pool.workers)
    @rule(which=numbers)
    def worker_dies(self, which: int) -> None:
        worker = self.worker(which)
        lost = self.pool.lost(worker)
        assert lost == self.at_worker.pop(worker.lease_id)
        for task in lost:
            task.lease = None
            self.ready.append(task)
            self.pool.push(task)

    @rule()
    def older_task_goes_to_the_node(self) -> None:
        before = sum(worker.recalled for worker in self.pool.workers.values())
        self.pool.give_way(0)
        after = sum(worker.recalled for worker in self.pool.workers.values())
        assert after - before in (0, 1)
        if self.ready:
            assert self.pool.leases_to_request() is not None

    @rule()
    def ask_for_leases(self) -> None:
        wanted = self.pool.leases_to_request()
        assert wanted is None or wanted == self.pool.requested
        if self.ready:
            assert self.pool.requested > 0

    @rule()
    def reclaim(self) -> None:
        asked = self.pool.to_reclaim_from()
        if asked is not None:
            worker, count = asked
            assert 1 <= count < len(worker.in_flight)
            assert not self.ready

    @rule(passed=st.sampled_from([0.0, 0.5, 2.0]))
    def give_up_idle(self, passed: float) -> None:
        self.now += passed
        for worker in self.pool.to_return(self.now, 1.0):
            assert self.at_worker.pop(worker.lease_id) == []
        if self.pool.withdraw_request():
            assert not self.ready

    @invariant()
    def no_task_is_lost_or_twice_anywhere(self) -> None:
        self.pool.validate()
        assert set(self.pool.workers) == set(self.at_worker)
        for lease, tasks in self.at_worker.items():
            worker = self.pool.workers[lease]
            assert list(worker.in_flight.values()) == tasks
            assert len(tasks) <= MAX_IN_FLIGHT
        assert len(self.pool) >= len(self.ready)

    def teardown(self) -> None:
        """Whatever happened, enough workers run everything that is left."""
        while self.ready:
            self.lease_granted()
            self.assign()


TestLeasePool = LeasePoolMachine.TestCase
TestLeasePool.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
