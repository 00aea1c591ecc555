"""Objects, tasks and actors across the nodes of a cluster."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import millpond
from integration.cluster_support import add_node, far_cluster, needs_cluster, small_cluster
from integration.conftest import MIB, eventually
from millpond.api.session import connected_runtime
from millpond.errors import OwnerDiedError
from millpond.objectstore.statistics import StoreStatistics
from millpond.testing import Cluster
from millpond.wire.messages import GetStatistics

pytestmark = needs_cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes of one CPU each, and a driver whose own node has one too."""
    with small_cluster(2) as nodes:
        yield nodes
        nothing_stored()


@pytest.fixture
def far() -> Iterator[Cluster]:
    """A head without workers to speak of, a node with a resource of its own, and a driver."""
    with far_cluster(far=8) as nodes:
        yield nodes
        nothing_stored()


def nothing_stored() -> None:
    """All stores are empty, once nobody holds anything."""
    gc.collect()
    if millpond.is_initialized():
        for each in millpond.nodes():
            where = f"node {each.node_id} holds nothing"
            eventually(lambda each=each: store_of(each).num_objects == 0, where)  # type: ignore[misc]


def store_of(node: millpond.Node) -> StoreStatistics:
    """Return the statistics of a node's object store."""
    runtime = connected_runtime()
    channel = runtime.node_near(bytes.fromhex(node.node_id))
    return StoreStatistics(**runtime.requests.ask(channel, GetStatistics(0)).store)


def node() -> int:
    """Return the process id of the node that the calling worker belongs to."""
    return _ancestor(os.getppid())


def _ancestor(pid: int) -> int:
    # Zygotes are children of the node.
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[3])


@millpond.remote(resources={"far": 1}, num_cpus=0)
def make(size: int, seed: int = 0) -> np.ndarray:
    return np.arange(size, dtype=np.uint8) + np.uint8(seed)


@millpond.remote(resources={"far": 1}, num_cpus=0)
def total(*arrays: np.ndarray) -> int:
    return sum(int(array.sum()) for array in arrays)


@millpond.remote(resources={"far": 1}, num_cpus=0)
def where() -> int:
    return node()


@millpond.remote
def here_total(array: np.ndarray) -> int:
    return int(array.sum())


def test_a_task_runs_on_the_only_node_that_can_run_it(far: Cluster) -> None:
    assert millpond.get(where.remote()) == far.nodes[-1].pid


def test_a_stored_result_of_another_node_can_be_read_and_used_here(far: Cluster) -> None:
    ref = make.remote(MIB)
    expected = int((np.arange(MIB, dtype=np.uint8)).sum())
    assert millpond.get(here_total.remote(ref)) == expected
    assert int(millpond.get(ref).sum()) == expected
    assert millpond.get(total.remote(ref)) == expected


def test_what_was_put_here_is_an_argument_there(far: Cluster) -> None:
    array = np.random.default_rng(1).integers(0, 255, 3 * MIB, dtype=np.uint8)
    ref = millpond.put(array)
    assert millpond.get(total.remote(ref)) == int(array.sum())


def test_many_objects_go_back_and_forth_and_are_freed_everywhere(far: Cluster) -> None:
    refs = [make.remote(MIB, seed) for seed in range(8)]
    sums = [here_total.remote(ref) for ref in refs]
    assert millpond.get(total.remote(*refs)) == sum(millpond.get(sums))


def test_an_exception_of_another_node_is_raised_here(far: Cluster) -> None:
    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def fail() -> None:
        raise KeyError("there")

    with pytest.raises(KeyError, match="there"):
        millpond.get(fail.remote())


def test_a_ref_in_a_result_of_another_node_can_be_read(far: Cluster) -> None:
    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def nested() -> list[millpond.ObjectRef[np.ndarray]]:
        return [millpond.put(np.ones(MIB, dtype=np.uint8)), millpond.put(b"small")]

    large, small = millpond.get(nested.remote())
    assert int(millpond.get(large).sum()) == MIB
    assert millpond.get(small) == b"small"


def test_a_task_of_another_node_can_submit_tasks_and_wait_for_them(far: Cluster) -> None:
    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def outer() -> int:
        return int(millpond.get(here_total.remote(np.ones(MIB, dtype=np.uint8))))

    assert millpond.get(outer.remote()) == MIB


def test_tasks_without_stored_arguments_use_the_slots_of_all_nodes(cluster: Cluster) -> None:
    @millpond.remote
    def slow() -> int:
        time.sleep(0.2)
        return node()

    nodes = set(millpond.get([slow.remote() for _ in range(12)]))
    assert len(nodes) == 3


def test_tasks_with_stored_arguments_use_the_slots_of_all_nodes(cluster: Cluster) -> None:
    ref = millpond.put(np.ones(MIB, dtype=np.uint8))

    @millpond.remote
    def slow(array: np.ndarray) -> int:
        time.sleep(0.2)
        return node()

    nodes = set(millpond.get([slow.remote(ref) for _ in range(12)]))
    assert len(nodes) == 3


def test_an_actor_lives_on_another_node_and_its_calls_stay_in_order(far: Cluster) -> None:
    @millpond.remote(resources={"far": 1})
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def add(self, number: int) -> int:
            self.seen.append(number)
            return node()

        def all(self) -> list[int]:
            return self.seen

    log = Log.remote()
    assert set(millpond.get([log.add.remote(n) for n in range(50)])) == {far.nodes[-1].pid}
    assert millpond.get(log.all.remote()) == list(range(50))


def test_an_actor_of_another_node_can_be_called_by_a_task_of_a_third(far: Cluster) -> None:
    add_node(far, resources={"third": 1})

    @millpond.remote(resources={"far": 1})
    class Counter:
        count = 0

        def add(self) -> int:
            self.count += 1
            return self.count

    @millpond.remote(resources={"third": 1}, num_cpus=0)
    def call(counter: object) -> int:
        return int(millpond.get(counter.add.remote()))  # type: ignore[attr-defined]

    counter = Counter.remote()
    assert millpond.get(call.remote(counter)) == 1
    assert millpond.get(counter.add.remote()) == 2


def test_a_lost_node_costs_no_result(far: Cluster) -> None:
    refs = [make.remote(MIB, seed) for seed in range(4)]
    millpond.wait(refs, num_returns=4)
    lost = far.nodes[-1]
    add_node(far, resources={"far": 8}, num_cpus=2)
    far.kill(lost)
    for seed, ref in enumerate(refs):
        expected = np.arange(MIB, dtype=np.uint8) + np.uint8(seed)
        assert np.array_equal(millpond.get(ref), expected)


def test_tasks_that_ran_on_a_lost_node_run_again(far: Cluster, tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    begun.mkdir()

    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def slow(name: str, *_: object) -> int:
        (begun / name).touch()
        while not go_on.exists():
            time.sleep(0.01)
        return node()

    stored = millpond.put(np.ones(MIB, dtype=np.uint8))
    refs = [slow.remote("one"), slow.remote("two", stored)]
    eventually(lambda: len(list(begun.iterdir())) == 2, "both tasks run")
    lost = far.nodes[-1]
    other = add_node(far, resources={"far": 8}, num_cpus=2)
    far.kill(lost)
    go_on.touch()
    assert set(millpond.get(refs)) == {other.pid}


def test_an_actor_of_a_lost_node_is_dead(far: Cluster) -> None:
    @millpond.remote(resources={"far": 1})
    class Idle:
        def answer(self) -> int:
            return 1

    actor = Idle.remote()
    assert millpond.get(actor.answer.remote()) == 1
    far.kill(far.nodes[-1])
    with pytest.raises(millpond.ActorDiedError):
        millpond.get(actor.answer.remote())


def test_what_a_process_of_a_lost_node_owned_is_lost_with_it(far: Cluster) -> None:
    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def nested() -> list[millpond.ObjectRef[bytes]]:
        return [millpond.put(b"small")]

    (ref,) = millpond.get(nested.remote())
    far.kill(far.nodes[-1])
    with pytest.raises(OwnerDiedError):
        millpond.get(ref)


def test_a_driver_frees_everything_everywhere_when_it_ends(far: Cluster) -> None:
    refs = [make.remote(MIB, seed) for seed in range(4)]
    millpond.wait(refs, num_returns=4)
    millpond.shutdown()
    far.connect()
    nothing_stored()
    assert millpond.get(where.remote()) == far.nodes[-1].pid


@millpond.remote
def split(seed: int, parts: int) -> list[np.ndarray]:
    numbers = np.random.default_rng(seed).integers(0, 1 << 30, MIB // 2, dtype=np.int64)
    return [np.ascontiguousarray(numbers[numbers % parts == index]) for index in range(parts)]


@millpond.remote
def merge(*parts: np.ndarray) -> np.ndarray:
    return np.sort(np.concatenate(parts))


@millpond.remote
def check(numbers: np.ndarray) -> tuple[int, int, bool]:
    return int(numbers.sum()), len(numbers), bool((numbers[1:] >= numbers[:-1]).all())


@pytest.mark.parametrize("delay", [0.3, 0.9])
def test_a_node_that_is_killed_in_the_middle_of_a_shuffle(delay: float) -> None:
    count = 10
    with small_cluster(3) as nodes:
        parts = [split.options(num_returns=count).remote(seed, count) for seed in range(count)]
        merged = [merge.remote(*[part[index] for part in parts]) for index in range(count)]
        checks = [check.remote(each) for each in merged]
        del parts, merged
        time.sleep(delay)
        nodes.kill(nodes.nodes[1])
        found = millpond.get(checks, timeout=60)
        del checks
        expected = [
            int(np.random.default_rng(seed).integers(0, 1 << 30, MIB // 2, dtype=np.int64).sum())
            for seed in range(count)
        ]
        assert sum(total for total, _, _ in found) == sum(expected)
        assert sum(length for _, length, _ in found) == count * (MIB // 2)
        assert all(is_sorted for _, _, is_sorted in found)
        nothing_stored()


def test_more_copies_than_fit_in_a_store_are_dropped_and_fetched_again(far: Cluster) -> None:
    refs = [millpond.put(np.full(8 * MIB, number, dtype=np.uint8)) for number in range(7)]
    small = add_node(far, resources={"small": 1}, object_store_memory=24 * MIB)

    @millpond.remote(resources={"small": 1}, num_cpus=0)
    def first(array: np.ndarray) -> int:
        return int(array[0])

    for _ in range(2):
        assert millpond.get([first.remote(ref) for ref in refs]) == list(range(7))
    (node,) = [each for each in millpond.nodes() if each.node_id == small.node_id]
    statistics = store_of(node)
    assert statistics.spills_total == 0, "a secondary copy is dropped, not written to a disk"
    assert statistics.evictions_total >= 7


@pytest.mark.parametrize("force", [False, True])
def test_a_task_of_another_node_is_cancelled(far: Cluster, *, force: bool) -> None:
    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def forever(*_: object) -> None:
        while True:
            time.sleep(0.01)

    stored = millpond.put(np.ones(MIB, dtype=np.uint8))
    refs = [forever.remote(stored), forever.remote()]
    time.sleep(0.5)
    for ref in [*refs, forever.remote(stored)]:
        millpond.cancel(ref, force=force)
        with pytest.raises(millpond.TaskCancelledError):
            millpond.get(ref, timeout=10)
