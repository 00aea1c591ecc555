"""Large graphs of small tasks: which units share a call, and that nothing else changes by it."""

from __future__ import annotations

import operator
import os
import random
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from timeit import default_timer
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Alias, Task, TaskRef
from dask.diagnostics import Profiler

import millpond
import millpond.dask
from millpond.adapters.dask import batch_node, submission
from millpond.adapters.dask.batches import Batch, Budget, Cost, make_batches
from millpond.adapters.dask.costs import Costs, kind_of
from millpond.adapters.dask.graph import materialize, select
from millpond.adapters.dask.units import Unit, group_tasks, in_order
from millpond.dask import get, persist

TINY = Cost(10e-6, 64)
LARGE = Cost(10e-6, 100_000)
MANY = 400


def inc(x: int) -> int:
    return x + 1


def process(_: int) -> int:
    return os.getpid()


@pytest.fixture(autouse=True)
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    """What this test's tasks took, and nothing of other tests."""
    fresh = Costs()
    monkeypatch.setattr(submission, "_costs", fresh)
    return fresh


def know(costs: Costs, *kinds: str, cost: Cost = TINY) -> None:
    for kind in kinds:
        costs._known[kind] = cost


# --- pure: which units share a batch ----------------------------------------------------------


def units_of(dsk: dict[Any, Any], *keys: Any) -> list[Unit]:
    return group_tasks(select(materialize(dsk), keys), set(keys))


def nodes_of(
    dsk: dict[Any, Any],
    *keys: Any,
    small: Collection[str] = (),
    seconds: float = 1.0,
    cpus: int = 1,
    cost: Cost = TINY,
) -> list[Unit | Batch]:
    units = units_of(dsk, *keys)
    costs = [cost if kind_of(unit.key) in small else None for unit in units]
    return in_order(make_batches(units, costs, (), set(keys), Budget(cpus, seconds)))


def parts(node: Unit | Batch) -> list[Unit]:
    return node.units if isinstance(node, Batch) else [node]


def check(nodes: list[Unit | Batch], dsk: dict[Any, Any], *keys: Any) -> None:
    """Every unit once, each after what it needs, and all that is used elsewhere returned."""
    assert sorted(str(u.key) for node in nodes for u in parts(node)) == sorted(
        str(unit.key) for unit in units_of(dsk, *keys)
    )
    returned: set[Any] = set()
    for node in nodes:
        assert set(node.inputs.values()) <= returned
        inside: set[Any] = set()
        for unit in parts(node):
            assert set(unit.inputs.values()) <= returned | inside
            inside.add(unit.key)
        returned.update(key for keys in node.outputs for key in keys)
    assert returned >= set(keys)


def test_independent_small_units_share_batches_up_to_the_budget() -> None:
    dsk = {("x", i): (inc, i) for i in range(100)}
    nodes = nodes_of(dsk, *dsk, small={"x"}, seconds=TINY.seconds * 40.5)
    check(nodes, dsk, *dsk)
    assert [len(parts(node)) for node in nodes] == [40, 40, 20]
    assert all(isinstance(node, Batch) and not node.singles for node in nodes)


def test_large_results_of_small_units_stay_objects_of_their_own() -> None:
    dsk = {("x", i): (inc, i) for i in range(10)}
    (batch,) = nodes_of(dsk, *dsk, small={"x"}, cost=LARGE)
    assert isinstance(batch, Batch)
    assert (batch.bundle, sorted(batch.singles)) == ([], sorted(dsk))


def test_units_that_are_not_small_are_alone() -> None:
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(10)}
    dsk |= {("y", i): (operator.add, ("x", i), ("x", (i + 1) % 10)) for i in range(10)}
    dsk |= {("z", i): (operator.add, ("y", i), ("y", (i + 1) % 10)) for i in range(10)}
    keys = [("z", i) for i in range(10)]
    nodes = nodes_of(dsk, *keys, small={"x", "z"})
    check(nodes, dsk, *keys)
    assert sorted(len(parts(node)) for node in nodes) == [*[1] * 10, 10, 10]


@pytest.mark.parametrize("seconds", [TINY.seconds * 30, 1.0])
def test_a_tree_of_small_units(seconds: float) -> None:
    dsk: dict[Any, Any] = {("x", 0, i): (inc, i) for i in range(256)}
    for level in range(1, 9):
        for i in range(256 >> level):
            pair = ("x", level - 1, 2 * i), ("x", level - 1, 2 * i + 1)
            dsk["x", level, i] = (operator.add, *pair)
    top = ("x", 8, 0)
    nodes = nodes_of(dsk, top, small={"x"}, seconds=seconds)
    check(nodes, dsk, top)
    if seconds == 1.0:
        assert len(nodes) == 1
    else:
        # Each fills its budget, but for what joins the parts of several.
        assert len(nodes) < 2 * len(dsk) / 30 + 8
        # The parts of the tree can run side by side.
        assert sum(not node.inputs for node in nodes) > len(nodes) / 2


@pytest.mark.parametrize("seed", range(30))
def test_any_graph_can_run_in_batches(seed: int) -> None:
    chance = random.Random(seed)
    dsk: dict[Any, Any] = {}
    names = [(chance.choice("abcd"), i) for i in range(150)]
    for i, name in enumerate(names):
        needed = chance.sample(names[:i], min(i, chance.randrange(4)))
        dsk[name] = (max, [0, *needed])
    keys = chance.sample(names, 5)
    small = chance.sample("abcd", 3)
    budget = TINY.seconds * chance.choice([3, 10, 1000])
    check(nodes_of(dsk, *keys, small=small, seconds=budget), dsk, *keys)


def symmetric(side: int) -> tuple[dict[Any, Any], list[Any]]:
    """Return the graph of ``(x + x.T)``, chunk by chunk."""
    both = [(i, j) for i in range(side) for j in range(side)]
    dsk: dict[Any, Any] = {("x", i, j): (inc, i * side + j) for i, j in both}
    dsk |= {("y", i, j): (operator.sub, ("x", i, j), ("x", j, i)) for i, j in both}
    return dsk, [("y", i, j) for i, j in both]


def test_closed_clusters_share_a_call() -> None:
    dsk, keys = symmetric(6)
    nodes = nodes_of(dsk, *keys)
    check(nodes, dsk, *keys)
    batches = [node for node in nodes if isinstance(node, Batch)]
    assert sorted(len(batch.units) for batch in batches) == [4] * 15
    assert all(not batch.inputs and not batch.small for batch in batches)
    for batch in batches:
        assert {key[0] for key in batch.singles} == {"y"}


def test_too_few_clusters_stay_apart_so_that_all_processors_are_busy() -> None:
    dsk, keys = symmetric(6)
    assert not any(isinstance(node, Batch) for node in nodes_of(dsk, *keys, cpus=4))


def test_clusters_that_others_need_stay_apart() -> None:
    dsk, keys = symmetric(6)
    wanted = [*keys, *[key for key in dsk if key[0] == "x"]]
    assert not any(isinstance(node, Batch) for node in nodes_of(dsk, *wanted))


def test_cycles_are_found() -> None:
    dsk = {("x", i): Task(("x", i), inc, TaskRef(("x", (i + 1) % 3))) for i in range(3)}
    units = [Unit([task], {name: name for name in task.dependencies}) for task in dsk.values()]
    with pytest.raises(RuntimeError, match="cycle"):
        make_batches(units, [TINY] * 3, (), (), Budget(1, 1.0))
    last = Task("end", inc, TaskRef(("x", 0)))
    units.append(Unit([last], {name: name for name in last.dependencies}))
    with pytest.raises(RuntimeError, match="cycle"):
        make_batches(units, [TINY] * 4, (), (), Budget(1, 1.0))


# --- pure: what is known of tasks -------------------------------------------------------------


def test_kinds_of_keys() -> None:
    value = dask.delayed(inc)(1)
    assert kind_of(value.key) == "inc"
    assert kind_of(dask.delayed(inc, pure=True)(1).key) == "inc"
    array = da.ones(3, chunks=1) + 1
    assert {kind_of(key) for key in array.__dask_keys__()} == {"add"}
    assert kind_of(("x", 1)) == kind_of("x") == "x"
    assert kind_of(1) == "Other"


def test_what_takes_long_is_not_small_until_it_is_quick(costs: Costs) -> None:
    units = units_of({"x": (inc, 1)}, "x")
    assert costs.of(units[0]) is None
    costs.learn(units, [1.0], [8])
    assert costs.of(units[0]) is None
    costs.learn(units, [1e-5], [8])  # the first was an import
    assert costs.of(units[0]) is not None
    for _ in range(3):
        costs.learn(units, [1.0], [8])
    assert costs.of(units[0]) is None
    costs.learn(units, [1e-5], [1_000_000])
    assert costs.of(units[0]) is None


def test_some_of_each_kind_are_tried_out_with_what_it_needs(costs: Costs) -> None:
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(40)}
    dsk |= {("y", i): (operator.add, ("x", i), ("x", (i + 1) % 40)) for i in range(40)}
    dsk["rare", 0] = (inc, ("y", 0))
    keys = [("y", i) for i in range(40)] + [("rare", 0)]
    units = units_of(dsk, *keys)
    nothing: list[Cost | None] = [None] * len(units)
    tried = [units[i] for i in costs.choose_trials(units, nothing, ())]
    assert sum(kind_of(unit.key) == "y" for unit in tried) == 3
    made: set[Any] = set()
    for unit in tried:
        assert set(unit.inputs.values()) <= made
        made.add(unit.key)
    known = [None if kind_of(unit.key) == "y" else TINY for unit in units]
    assert len(costs.choose_trials(units, known, ())) == len(tried)
    alone = {i for i, unit in enumerate(units) if kind_of(unit.key) == "x"}
    assert costs.choose_trials(units, nothing, alone) == []


def test_of_what_was_tried_out_the_slowest_counts(costs: Costs) -> None:
    units = units_of({("x", i): (inc, i) for i in range(3)}, *[("x", i) for i in range(3)])
    costs.learn_trials([(units[0], 1e-5, 8), (units[1], 1.0, 8), (units[2], 1e-5, 8)])
    assert costs.of(units[0]) is None


def test_what_was_not_small_is_tried_out_ever_more_rarely(costs: Costs) -> None:
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(40)}
    units = units_of(dsk, *dsk)
    nothing: list[Cost | None] = [None] * len(units)
    tried = []
    for _ in range(40):
        trials = costs.choose_trials(units, nothing, ())
        tried.append(bool(trials))
        if trials:
            costs.learn(units[:1], [1.0], [8])
    assert [i for i, was in enumerate(tried) if was] == [0, 1, 4, 9, 18, 35]
    costs.learn(units[:1], [1e-5], [8])
    assert costs.choose_trials(units, nothing, ())


# --- on the engine ----------------------------------------------------------------------------


def tree(leaves: int, leaf: Any = inc) -> Any:
    level = [dask.delayed(leaf)(i) for i in range(leaves)]
    while len(level) > 1:
        level = [
            dask.delayed(operator.add)(a, b) for a, b in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of units of all batches that were sent, trials left out."""
    sizes: list[int] = []
    whole = submission.Sender.send_batch

    def counting(self: Any, batch: Batch, source: Any) -> Any:
        if len(batch.units) > 1:
            sizes.append(len(batch.units))
        return whole(self, batch, source)

    monkeypatch.setattr(submission.Sender, "send_batch", counting)
    return sizes


@pytest.mark.usefixtures("engine")
def test_small_tasks_run_in_batches(costs: Costs, sent: list[int]) -> None:
    know(costs, "inc", "add")
    for _ in range(3):
        assert tree(256).compute(scheduler=get) == sum(range(1, 257))
        values = [dask.delayed(inc)(i) for i in range(MANY)]
        assert dask.compute(*values, scheduler=get) == tuple(range(1, MANY + 1))
    assert sum(sent) > 3 * (MANY + 256)


@pytest.mark.usefixtures("engine")
def test_costs_are_learned_from_trials_and_batches(costs: Costs) -> None:
    # On a busy machine a trial may take longer than is waited for: then nothing is known yet.
    deadline = time.monotonic() + 60
    values = [dask.delayed(inc)(i) for i in range(MANY)]
    unit = Unit([Task(values[0].key, inc, 1)], {})
    while costs.of(unit) is None:
        assert time.monotonic() < deadline
        assert dask.compute(*values, scheduler=get) == tuple(range(1, MANY + 1))
    known = costs.of(unit)
    assert dask.compute(*values, scheduler=get) == tuple(range(1, MANY + 1))
    assert costs.of(unit) != known


@pytest.mark.usefixtures("engine")
def test_batches_and_single_tasks_use_each_others_results(costs: Costs, sent: list[int]) -> None:
    know(costs, "x", "z")
    know(costs, "array", cost=LARGE)
    n = 100
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(n)}
    dsk |= {("array", i): (np.full, 1000, ("x", i)) for i in range(n)}
    # Not known as small; there are too few to be tried out.
    dsk |= {("y", i): (sum, [("x", j) for j in range(i, n, 10)]) for i in range(10)}
    dsk |= {("z", i): (operator.add, ("y", i % 10), (np.sum, ("array", i))) for i in range(n)}
    keys = [("z", i) for i in range(n)]
    expected = [sum(j + 1 for j in range(i % 10, n, 10)) + 1000 * (i + 1) for i in range(n)]
    assert list(get(dsk, keys)) == expected
    assert len(sent) >= 2


def fail_at(x: int, bad: int) -> int:
    if x == bad:
        raise ZeroDivisionError(f"no {x}")
    return x


@pytest.mark.usefixtures("engine")
def test_the_first_failure_in_a_batch_names_its_task(costs: Costs, sent: list[int]) -> None:
    know(costs, "x")
    dsk: dict[Any, Any] = {("x", i): (fail_at, i, 77) for i in range(MANY)}
    with pytest.raises(ZeroDivisionError, match="no 77") as caught:
        get(dsk, list(dsk))
    assert "in the Dask task ('x', 77)" in caught.value.__notes__
    assert sent


def once(x: int, directory: str) -> int:
    """Fail the first time that it is called with a number."""
    mark = Path(directory) / str(x)
    if x % 50 == 0 and not mark.exists():
        mark.touch()
        raise OSError("not yet")
    return x


@pytest.mark.usefixtures("engine")
def test_retries_are_of_single_tasks(costs: Costs, sent: list[int], tmp_path: Path) -> None:
    know(costs, "x")
    dsk: dict[Any, Any] = {("x", i): (once, i, str(tmp_path)) for i in range(MANY)}
    assert get(dsk, list(dsk), retries=1) == tuple(range(MANY))
    assert sent
    dsk = {("x", i): (once, i + MANY, str(tmp_path)) for i in range(MANY)}
    with pytest.raises(OSError, match="not yet"):
        get(dsk, list(dsk))


def add_in_place(array: np.ndarray[Any, Any], amount: int) -> Any:
    array += amount
    return array.copy()


def extend(items: list[int], item: int) -> list[int]:
    items.append(item)
    return items


@pytest.mark.usefixtures("engine")
def test_what_a_task_does_to_its_input_no_other_sees(costs: Costs, sent: list[int]) -> None:
    know(costs, "array", "list", "x", "y")
    dsk: dict[Any, Any] = {"array": (np.zeros, 10), "list": (list, (range, 3))}
    dsk |= {("x", i): (add_in_place, "array", i) for i in range(100)}
    dsk |= {("y", i): (extend, "list", i) for i in range(100)}
    keys = [("x", i) for i in range(100)], [("y", i) for i in range(100)]
    arrays, lists = get(dsk, [list(keys[0]), list(keys[1])])
    assert [array[0] for array in arrays] == list(range(100))
    assert list(lists) == [[0, 1, 2, i] for i in range(100)]
    assert sent


def slow(x: int) -> tuple[int, int]:
    time.sleep(0.01)
    return x, os.getpid()


@pytest.mark.usefixtures("engine")
def test_what_takes_longer_than_expected_is_handed_on(
    costs: Costs, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    know(costs, "x")
    dsk: dict[Any, Any] = {("x", i): (slow, i) for i in range(100)}
    found = get(dsk, list(dsk))
    assert [x for x, _ in found] == list(range(100))
    assert max(sent) > 50
    # The batch was handed on to the other workers.
    largest = max(sent)
    assert len({pid for _, pid in found[:largest]}) > 1


class Ran(NamedTuple):
    """What a task knows of itself."""

    begin: float
    end: float
    worker: int


def note(*needed: object, seconds: float = 0.0) -> Ran:
    begin = default_timer()
    time.sleep(seconds)
    return Ran(begin, default_timer(), os.getpid())


def check_profile(profiler: Profiler, ran: dict[Any, Ran]) -> None:
    """Every task was recorded once, at the time and in the process that it tells of."""
    assert len(profiler.results) == len(ran)
    for record in profiler.results:
        own = ran[record.key]
        assert record.start_time <= own.begin <= own.end <= record.end_time
        assert record.worker_id == own.worker != os.getpid()


@pytest.mark.usefixtures("engine")
def test_a_profiler_is_told_when_the_tasks_of_a_batch_ran(costs: Costs, sent: list[int]) -> None:
    know(costs, "x", "y")
    dsk: dict[Any, Any] = {("x", i): (note,) for i in range(200)}
    dsk |= {("y", i): (note, ("x", i), ("x", (i + 1) % 200)) for i in range(200)}
    with Profiler() as profiler:
        found = get(dsk, list(dsk))
    assert sum(sent) > 300
    check_profile(profiler, dict(zip(dsk, found, strict=True)))


@pytest.mark.usefixtures("engine")
def test_a_profiler_is_told_when_tasks_ran_that_a_batch_handed_on(
    costs: Costs, sent: list[int]
) -> None:
    know(costs, "x")
    dsk: dict[Any, Any] = {("x", i): Task(("x", i), note, seconds=0.01) for i in range(100)}
    with Profiler() as profiler:
        found = get(dsk, list(dsk))
    assert max(sent) > 50
    check_profile(profiler, dict(zip(dsk, found, strict=True)))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("seconds", [0.0, 0.01], ids=["in the batch", "handed on"])
def test_a_profiler_is_told_what_ended_before_a_failure(
    costs: Costs, sent: list[int], seconds: float
) -> None:
    know(costs, "x")
    names = [("x", i) for i in range(90)]
    dsk: dict[Any, Any] = {name: Task(name, note, seconds=seconds) for name in names}
    dsk["x", 60] = Task(("x", 60), fail_at, 77, 77)
    with Profiler() as profiler, pytest.raises(ZeroDivisionError) as raised:
        get(dsk, list(dsk))
    assert sent == [90]
    assert "in the Dask task ('x', 60)" in raised.value.__notes__
    assert not [name for name in vars(raised.value) if "times" in name]
    ended = {record.key for record in profiler.results}
    assert ended
    assert ended <= {*names} - {("x", 60)}


@pytest.mark.usefixtures("engine")
def test_a_batch_returns_what_cannot_be_pickled_in_the_driver(costs: Costs) -> None:
    know(costs, "locked", "x")
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(MANY)}
    dsk |= {("locked", 0): (threading.Lock,)}
    with pytest.warns(RuntimeWarning, match="'locked' run in the driver"):
        *found, lock = get(dsk, list(dsk))
    assert found == list(range(1, MANY + 1))
    assert lock.acquire(blocking=False)


@pytest.mark.usefixtures("engine")
def test_tasks_that_cannot_be_sent_leave_their_batch(costs: Costs) -> None:
    know(costs, "x", "lambda")
    lock = threading.Lock()
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(MANY)}
    generator = (i for i in range(3))
    dsk["lambda", 0] = Task(("lambda", 0), lambda x: (x, next(generator), lock), TaskRef(("x", 0)))
    with pytest.warns(RuntimeWarning, match="run in the driver"):
        *found, made = get(dsk, list(dsk))
    assert found == list(range(1, MANY + 1))
    assert made == (1, 0, lock)


@pytest.mark.usefixtures("engine")
def test_persisted_values_fail_on_their_own(costs: Costs) -> None:
    know(costs, "fail_at")
    values = persist([dask.delayed(fail_at)(i, 77) for i in range(MANY)])
    assert values[76].compute(scheduler=get) == 76
    with pytest.raises(ZeroDivisionError):
        values[77].compute(scheduler=get)


def block(block_id: tuple[int, int]) -> Any:
    return np.full((100, 100), 8.0 * block_id[0] + block_id[1])


@pytest.mark.usefixtures("engine")
def test_shared_chunks_of_a_cluster_are_never_stored(
    costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "choose_trials", lambda *_: [])
    sides = ((100,) * 8, (100,) * 8)
    x = da.map_blocks(block, chunks=sides, dtype=float, meta=np.empty((0, 0)))
    # 28 clusters of two processors, and the diagonal.
    assert (x + x.T).sum().compute(scheduler=get) == 2 * 10_000 * sum(range(64))
    assert millpond.statistics().store.peak == 0


def test_a_run_of_a_batch_forgets_what_nothing_needs() -> None:
    dsk: dict[Any, Any] = {("x", i): (inc, i) for i in range(3)}
    dsk |= {("y", i): (operator.add, ("x", i), ("x", (i + 1) % 3)) for i in range(3)}
    (batch,) = nodes_of(dsk, *[("y", i) for i in range(3)], small={"x", "y"})
    assert isinstance(batch, Batch)
    work = batch_node.batch_work_of(batch, (), {}, ())
    run = batch_node._Run(work, ())
    run.all()
    assert run.results == {("y", 0): 3, ("y", 1): 5, ("y", 2): 4}
    assert not [name for name in run._known if name[0] == "x"]


def renamed(count: int) -> dict[Any, Any]:
    """Tasks that know what others make by another name."""
    dsk: dict[Any, Any] = {}
    for i in range(count):
        dsk["x", i] = Task(("x", i), list, range(i))
        dsk["alias", i] = Alias(("alias", i), ("x", i))
        dsk["y", i] = Task(("y", i), extend, TaskRef(("alias", i)), i)
        dsk["z", i] = Task(("z", i), len, TaskRef(("x", i)))
    return dsk


def test_what_a_task_does_to_its_input_is_not_returned() -> None:
    dsk: dict[Any, Any] = {("x", i): (list, (range, i)) for i in range(3)}
    dsk |= {("y", i): (extend, ("x", i), i) for i in range(3)}
    (batch,) = nodes_of(dsk, *dsk, small={"x", "y"})
    assert isinstance(batch, Batch)
    run = batch_node._Run(batch_node.batch_work_of(batch, (), {}, ()), ())
    run.all()
    assert [run.results["x", i] for i in range(3)] == [[], [0], [0, 1]]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("limit", [1.0, 0.0, -1.0], ids=["whole", "handed on", "all handed on"])
def test_values_have_other_names_inside_a_batch(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_node, "_LIMIT", limit)
    keys = [(name, i) for i in range(3) for name in "yz"]
    (batch,) = nodes_of(renamed(3), *keys, small={"x", "y", "z"})
    assert isinstance(batch, Batch)
    run = batch_node._Run(batch_node.batch_work_of(batch, (), {}, ()), ())
    run.all()
    assert run.results == {
        **{("y", i): [*range(i), i] for i in range(3)},
        **{("z", i): i for i in range(3)},
    }


@pytest.mark.usefixtures("engine")
def test_tasks_with_other_names_for_their_inputs_run_in_batches(
    costs: Costs, sent: list[int]
) -> None:
    know(costs, "x", "y", "z")
    found = get(renamed(100), [[("y", i) for i in range(100)], [("z", i) for i in range(100)]])
    assert list(found[0]) == [[*range(i), i] for i in range(100)]
    assert list(found[1]) == list(range(100))
    assert sent


@pytest.mark.usefixtures("engine")
def test_new_workers_have_what_dask_needs() -> None:
    @millpond.remote
    def imported() -> bool:
        return "millpond.adapters.dask.batch_node" in sys.modules and "dask.array" in sys.modules

    with millpond.dask.enable():
        while not millpond.get(imported.remote()):
            time.sleep(0.05)  # until the warm process is there and the idle workers are replaced
