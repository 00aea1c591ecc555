from __future__ import annotations

import pytest

from millpond.owner.memory_demand import MAX_STOPS, MemoryDemand
from millpond.owner.tasks import PendingTask
from millpond.scheduler.resources import EXPECTED_MEMORY, UNIT, pack_shape, unpack_shape
from millpond.wire.messages import OutOfMemory

MIB = 1 << 20
TOTAL = 1000 * MIB


def task(name: str = "f", memory: int = 0, retries_left: int = 3) -> PendingTask:
    shape = {"CPU": UNIT, "memory": memory * UNIT} if memory else {"CPU": UNIT}
    return PendingTask(
        b"%16d" % 1,
        b"function",
        name,
        pack_shape(shape),
        retries_left=retries_left,
        memory=memory,
    )


def stop(used: int, **more: bool) -> OutOfMemory:
    return OutOfMemory(b"", used * MIB, "it used too much", **more)


def reserved(demand: MemoryDemand, of: PendingTask) -> int:
    """Return the MiB in the shape with which a task runs."""
    return unpack_shape(demand.shape(of, TOTAL)).get(EXPECTED_MEMORY, 0) // UNIT // MIB


def test_what_is_not_known_to_matter_keeps_its_shape() -> None:
    demand, small = MemoryDemand(), task()
    demand.learn(small, 63 * MIB)
    assert demand.shape(small, TOTAL) is small.base_shape


def test_what_was_learned_of_a_group_is_reserved_for_it_alone() -> None:
    demand = MemoryDemand()
    demand.learn(task("f"), 100 * MIB)
    assert reserved(demand, task("f")) == 112
    assert reserved(demand, task("g")) == 0
    shape = unpack_shape(demand.shape(task("f"), TOTAL))
    assert shape == {"CPU": UNIT, EXPECTED_MEMORY: 112 * MIB * UNIT}


def test_never_more_than_there_is_is_reserved() -> None:
    demand = MemoryDemand()
    demand.learn(task(), 5 * TOTAL)
    assert reserved(demand, task()) == 1000


def test_what_was_declared_stays() -> None:
    demand, declared = MemoryDemand(), task(memory=200 * MIB)
    demand.learn(declared, 900 * MIB)
    assert demand.shape(declared, TOTAL) == declared.base_shape


def test_a_stopped_task_gets_more_each_time_until_it_has_all() -> None:
    demand, stopped = MemoryDemand(), task()
    had = []
    for used in (10, 100, 200, 300, 900):
        assert demand.stopped(stopped, stop(used), TOTAL) is None
        had.append(reserved(demand, stopped))
    assert had == [64, 128, 256, 512, 1000]
    assert reserved(demand, task()) == 0, "others of its function are another matter"


def test_a_task_that_kept_to_what_it_had_gets_no_more() -> None:
    demand, stopped = MemoryDemand(), task()
    demand.learn(stopped, 512 * MIB)
    assert demand.stopped(stopped, stop(500), TOTAL) is None
    assert reserved(demand, stopped) == 512


@pytest.mark.parametrize(
    ("of", "oom", "advice"),
    [
        (task(memory=64 * MIB), stop(90, declared=True), "larger memory="),
        (task(retries_left=0), stop(90), r"max_retries=0\): let it"),
        (task(), stop(90, alone=True), "even with all of it: let it work on smaller pieces"),
    ],
)
def test_a_task_that_is_given_up_at_once(of: PendingTask, oom: OutOfMemory, advice: str) -> None:
    error = MemoryDemand().stopped(of, oom, TOTAL)
    assert error is not None
    text = rf"^task f \({of.task_id.hex()}\) ran out of memory: it used too much. .*{advice}"
    with pytest.raises(MemoryError, match=text):
        raise error


def test_a_task_that_had_all_is_given_up_unless_others_are_to_blame() -> None:
    demand, stopped = MemoryDemand(), task()
    assert demand.stopped(stopped, stop(990), TOTAL) is None
    assert demand.stopped(stopped, stop(400), TOTAL) is None
    assert demand.stopped(stopped, stop(990), TOTAL) is not None


def test_there_is_an_end_to_it() -> None:
    demand, stopped = MemoryDemand(), task()
    errors = [demand.stopped(stopped, stop(20), TOTAL) for _ in range(MAX_STOPS + 1)]
    assert errors[:-1] == [None] * MAX_STOPS
    assert "(16 times)" in str(errors[-1])
