from __future__ import annotations

import pytest

from millpond.owner.lease_pool import (
    BATCH,
    MAX_IN_FLIGHT,
    MAX_REQUESTED,
    TARGET_LOAD,
    LeasedWorker,
    LeasePool,
    LeasePools,
)
from millpond.owner.tasks import AT_WORKER, DONE, READY, FunctionTimes, PendingTask
from millpond.wire.ids import ObjectIds, ProcessId

SHAPE = b"one cpu"


class Pool:
    """A lease pool with tasks and workers numbered from 1 on."""

    def __init__(self, workers: int = 0) -> None:
        self.times = FunctionTimes()
        self.pool = LeasePool(SHAPE, self.times)
        self.ids = ObjectIds(ProcessId(b"driver-1"))
        self.workers = [self.grant() for _ in range(workers)]

    def grant(self, now: float = 0.0) -> LeasedWorker:
        lease_id = len(self.pool.workers) + 1
        worker = LeasedWorker(lease_id, b"worker-%d" % lease_id, None, now)
        self.pool.workers[lease_id] = worker
        return worker

    def task(self, name: str = "f") -> PendingTask:
        return PendingTask(self.ids.reserve(1), b"function", name, SHAPE)

    def push(self, count: int, name: str = "f") -> list[PendingTask]:
        tasks = [self.task(name) for _ in range(count)]
        for task in tasks:
            self.pool.push(task)
        return tasks

    def takes(self, seconds: float, name: str = "f") -> None:
        self.times.learn((b"function", name), seconds - FunctionTimes.OVERHEAD)

    def assign(self) -> dict[int, list[PendingTask]]:
        assigned = {worker.lease_id: tasks for worker, tasks in self.pool.assign()}
        self.pool.validate()
        return assigned


def test_of_an_unknown_function_every_worker_gets_one_task() -> None:
    own = Pool(workers=2)
    tasks = own.push(5)
    assert own.assign() == {1: tasks[:1], 2: tasks[1:2]}
    assert own.assign() == {}
    assert len(own.pool) == 3
    assert own.pool.first_order == tasks[2].order


def test_long_tasks_travel_one_by_one() -> None:
    own = Pool(workers=1)
    own.takes(TARGET_LOAD * 2)
    first, second = own.push(2)
    assert own.assign() == {1: [first]}
    own.pool.finished(own.workers[0], first, now=1.0)
    assert own.assign() == {1: [second]}


def test_tiny_tasks_travel_in_batches_of_the_target_load() -> None:
    own = Pool(workers=1)
    own.takes(TARGET_LOAD / 10)
    own.push(100)
    (batch,) = own.assign().values()
    assert len(batch) in (9, 10)  # sums of floats
    assert own.workers[0].load == pytest.approx(TARGET_LOAD, rel=0.11)


def test_tasks_that_cost_nothing_are_bounded_by_number() -> None:
    own = Pool(workers=1)
    own.takes(TARGET_LOAD / 1e9)
    own.push(MAX_IN_FLIGHT + 10)
    (batch,) = own.assign().values()
    assert len(batch) == MAX_IN_FLIGHT


def test_few_tiny_tasks_are_spread_over_the_workers() -> None:
    own = Pool(workers=3)
    own.takes(TARGET_LOAD / 100)
    own.push(6)
    assert [len(tasks) for tasks in own.assign().values()] == [2, 2, 2]


def test_a_worker_is_topped_up_when_half_of_its_load_is_done() -> None:
    own = Pool(workers=1)
    own.takes(TARGET_LOAD / 10)
    own.push(100)
    (batch,) = own.assign().values()
    for index, task in enumerate(batch):
        own.pool.finished(own.workers[0], task, now=1.0)
        if more := own.assign():
            assert index + 1 >= len(batch) // 2
            assert len(more[1]) >= len(batch) // 2
            return
    pytest.fail("the worker was never topped up")


def test_a_long_task_behind_tiny_ones_waits_for_an_idle_worker() -> None:
    own = Pool(workers=1)
    own.takes(TARGET_LOAD / 10, "tiny")
    own.takes(60, "long")
    (tiny,) = own.push(1, "tiny")
    (long,) = own.push(1, "long")
    assert own.assign() == {1: [tiny]}
    own.grant()
    assert own.assign() == {2: [long]}


def test_what_cannot_run_is_taken_out_and_no_more_leases_are_asked_for() -> None:
    own = Pool()
    first, cancelled, last = own.push(3)
    assert own.pool.leases_to_request() == 3
    cancelled.state = DONE
    assert own.pool.take_all() == [first, last]
    assert own.pool.leases_to_request() is None
    assert own.pool.withdraw_request()


def test_tasks_start_in_the_order_of_their_submission_not_of_getting_ready() -> None:
    own = Pool(workers=1)
    first, second = own.task(), own.task()
    own.pool.push(second)
    own.pool.push(first)
    assert own.assign() == {1: [first]}


def test_a_task_given_back_goes_before_younger_ones() -> None:
    own = Pool(workers=1)
    first, _, _ = own.push(3)
    own.assign()
    own.pool.finished(own.workers[0], first, now=1.0)
    assert first.lease is None
    own.pool.push(first)
    assert first.state == READY
    assert own.assign() == {1: [first]}


def test_cancelled_tasks_are_left_out() -> None:
    own = Pool(workers=1)
    first, second = own.push(2)
    first.state = DONE
    assert own.assign() == {1: [second]}
    second.state = DONE
    assert len(own.pool) == 0


@pytest.mark.parametrize("state", ["recalled", "blocked"])
def test_recalled_and_blocked_workers_get_nothing(state: str) -> None:
    own = Pool(workers=2)
    setattr(own.workers[0], state, True)
    (task,) = own.push(1)
    assert own.assign() == {2: [task]}
    assert not own.pool.worth_assigning()


def test_a_blocked_worker_that_became_idle_is_open_again() -> None:
    own = Pool(workers=1)
    first, second = own.push(2)
    own.assign()
    own.workers[0].blocked = True
    assert own.assign() == {}
    own.pool.finished(own.workers[0], first, now=1.0)
    assert own.assign() == {1: [second]}


def test_the_tasks_of_a_dead_worker_come_back_the_running_one_first() -> None:
    own = Pool(workers=1)
    own.takes(TARGET_LOAD / 100)
    tasks = own.push(5)
    own.assign()
    assert own.pool.lost(own.workers[0]) == tasks
    assert own.pool.workers == {}
    assert own.pool.lost(own.workers[0]) == []


def test_a_task_that_is_not_there_any_more_changes_no_load() -> None:
    own = Pool(workers=2)
    first, second = own.push(2)
    own.assign()
    own.pool.finished(own.workers[0], second, now=1.0)
    assert own.workers[0].in_flight == {first.task_id: first}
    assert own.workers[0].load == FunctionTimes.UNKNOWN
    assert second.state == AT_WORKER
    assert second.lease is own.workers[1]


def test_leases_are_asked_for_anew_only_when_twice_as_many_wait() -> None:
    own = Pool()
    assert own.pool.leases_to_request() is None
    own.push(3)
    assert own.pool.leases_to_request() == 3
    own.push(2)
    assert own.pool.leases_to_request() is None
    own.push(1)
    assert own.pool.leases_to_request() == 6
    own.push(1000)
    assert own.pool.leases_to_request() == MAX_REQUESTED


def test_a_request_that_all_leases_answered_is_made_again() -> None:
    own = Pool()
    own.push(3)
    own.pool.leases_to_request()
    own.pool.requested = 0
    assert own.pool.leases_to_request() == 3


def test_a_request_is_withdrawn_when_nothing_waits() -> None:
    own = Pool()
    assert not own.pool.withdraw_request()
    own.push(1)
    own.pool.leases_to_request()
    assert not own.pool.is_idle()
    assert not own.pool.withdraw_request()
    own.grant()
    own.assign()
    assert own.pool.is_idle()
    assert own.pool.withdraw_request()
    assert own.pool.requested == 0
    assert not own.pool.withdraw_request()


def test_giving_way_hands_back_the_least_busy_worker_and_asks_again() -> None:
    own = Pool(workers=2)
    older = own.task()
    own.push(3)
    own.assign()
    own.pool.leases_to_request()
    assert own.pool.leases_to_request() is None
    idle = own.grant()
    own.pool.give_way(older.order)
    assert idle.recalled
    assert not any(worker.recalled for worker in own.workers)
    assert own.pool.leases_to_request() == 1
    assert own.pool.leases_to_request() is None
    assert own.pool.to_return(now=0.0, linger=60.0) == [idle]


def test_what_is_ready_does_not_give_way_to_a_younger_task() -> None:
    own = Pool(workers=1)
    own.pool.give_way(own.task().order)
    own.push(1)
    own.pool.give_way(own.task().order)
    assert not own.workers[0].recalled


def test_idle_leases_go_back_after_a_while() -> None:
    own = Pool(workers=1)
    (task,) = own.push(1)
    own.assign()
    assert own.pool.to_return(now=100.0, linger=1.0) == []
    own.pool.finished(own.workers[0], task, now=100.0)
    assert own.pool.to_return(now=100.5, linger=1.0) == []
    assert own.pool.to_return(now=101.0, linger=1.0) == own.workers
    assert own.pool.workers == {}
    assert not own.pool.is_idle()


def test_a_recalled_lease_goes_back_at_once_but_not_before_its_tasks_are_done() -> None:
    own = Pool(workers=1)
    (task,) = own.push(1)
    own.assign()
    own.workers[0].recalled = True
    assert own.pool.to_return(now=0.0, linger=60.0) == []
    own.pool.finished(own.workers[0], task, now=0.0)
    assert own.pool.to_return(now=0.0, linger=60.0) == own.workers


def test_a_busy_worker_shares_with_an_idle_one_and_is_asked_once() -> None:
    own = Pool(workers=1)
    own.takes(TARGET_LOAD / 100)
    own.push(9)
    own.assign()
    assert own.pool.to_reclaim_from() is None
    own.grant()
    assert own.pool.to_reclaim_from() == (own.workers[0], 4)
    assert own.pool.to_reclaim_from() is None


def test_nothing_is_reclaimed_from_a_worker_with_one_task_or_while_tasks_wait() -> None:
    own = Pool(workers=1)
    own.push(1)
    own.assign()
    own.grant()
    assert own.pool.to_reclaim_from() is None
    own.push(1)
    assert own.pool.to_reclaim_from() is None


def test_a_full_batch_is_worth_topping_up_a_busy_worker() -> None:
    own = Pool(workers=1)
    assert not own.pool.worth_assigning()
    own.takes(TARGET_LOAD / 1000)
    own.push(1)
    assert own.pool.worth_assigning()
    own.assign()
    own.push(BATCH - 1)
    assert not own.pool.worth_assigning()
    own.push(1)
    assert own.pool.worth_assigning()


def test_recent_run_times_weigh_more_and_each_name_is_known_by_itself() -> None:
    times = FunctionTimes()
    group = (b"function", "f")
    assert times.expect(group) == FunctionTimes.UNKNOWN
    times.learn(group, 0.0)
    assert times.expect(group) == FunctionTimes.OVERHEAD
    for _ in range(30):
        times.learn(group, 1.0)
    assert times.expect(group) == pytest.approx(1.0, rel=0.01)
    assert times.expect((b"function", "g")) == FunctionTimes.UNKNOWN


def test_a_group_that_is_to_run_with_another_shape_is_taken_out() -> None:
    pool = Pool(workers=1)
    pool.push(3, "f")
    others = pool.push(3, "g")
    cancelled = pool.push(1, "f")
    cancelled[0].state = DONE
    pool.pool.assign()  # of an unknown function a worker gets one
    taken = pool.pool.take_group((b"function", "f"))
    assert [task.name for task in taken] == ["f", "f"]
    assert len(pool.pool) == len(others)
    assert pool.pool.take_group((b"function", "f")) == []
    assert [task.order for _, task in sorted(pool.pool._ready)] == [t.order for t in others]


def test_a_pool_is_forgotten_when_a_new_one_would_do() -> None:
    pools = LeasePools(FunctionTimes())
    own = Pool()
    own.pool = pools[SHAPE]
    assert pools[SHAPE] is own.pool

    def is_kept() -> bool:
        pools.drop_if_unused(own.pool)
        return SHAPE in pools

    own.push(1)
    assert is_kept()
    own.pool.leases_to_request()
    worker = own.grant()
    ((_, (task,)),) = own.pool.assign()
    assert is_kept()  # leases are asked for, and there is a worker
    own.pool.withdraw_request()
    assert is_kept()
    own.pool.finished(worker, task, 0.0)
    assert is_kept()
    assert own.pool.to_return(1.0, 0.5) == [worker]
    assert not is_kept()
    assert pools[SHAPE] is not own.pool
