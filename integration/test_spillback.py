"""Tasks that leave a node which cannot run them soon."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import millpond
from integration.cluster_support import add_node, far_cluster, needs_cluster
from integration.conftest import MIB, eventually
from millpond.testing import Cluster

pytestmark = needs_cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head, and two nodes with a slot and a GPU each; one of them can be asked for."""
    with far_cluster(1, far=4, gpu=1) as nodes:
        yield nodes


def add_gpu(cluster: Cluster) -> None:
    add_node(cluster, resources={"gpu": 1})


@millpond.remote(resources={"far": 1}, num_cpus=0)
def block() -> np.ndarray:
    return np.ones(8 * MIB, dtype=np.uint8)


@millpond.remote
def total(array: np.ndarray) -> int:
    return int(array.sum())


@millpond.remote(resources={"far": 1})
def hold(array: np.ndarray, begun: Path, go_on: Path) -> None:
    """Keep the node busy until told otherwise."""
    begun.touch()
    while not go_on.exists():
        time.sleep(0.01)


@millpond.remote
class Holder:
    def ready(self) -> int:
        return os.getpid()


def test_a_task_does_not_wait_for_an_actor_to_end(cluster: Cluster) -> None:
    holder = Holder.options(resources={"far": 1}, num_cpus=1).remote()
    millpond.get(holder.ready.remote())
    blocks = [block.remote() for _ in range(3)]
    assert millpond.get([total.remote(each) for each in blocks]) == [8 * MIB] * 3


def test_nor_where_it_holds_another_resource(cluster: Cluster) -> None:
    add_gpu(cluster)
    holder = Holder.options(resources={"far": 1, "gpu": 1}).remote()
    millpond.get(holder.ready.remote())
    ref = block.remote()
    on_gpu = total.options(resources={"gpu": 1}, num_cpus=0)
    assert millpond.get([on_gpu.remote(ref) for _ in range(4)]) == [8 * MIB] * 4


def test_a_task_leaves_a_queue_that_stands_still(cluster: Cluster, tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    ref = block.remote()
    assert millpond.get([total.remote(ref) for _ in range(8)]) == [8 * MIB] * 8
    held = hold.remote(ref, begun, go_on)
    eventually(begun.exists, "the node is busy")
    assert millpond.get([total.remote(ref) for _ in range(8)]) == [8 * MIB] * 8
    go_on.touch()
    millpond.get(held)


def test_a_task_that_was_handed_on_can_be_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    add_gpu(cluster)
    begun = tmp_path / "begun"
    holder = Holder.options(resources={"far": 1, "gpu": 1}).remote()
    millpond.get(holder.ready.remote())

    @millpond.remote(resources={"gpu": 1}, num_cpus=0, max_retries=0)
    def endless(array: np.ndarray) -> None:
        begun.touch()
        while True:
            time.sleep(0.01)

    running = endless.remote(block.remote())
    eventually(begun.exists, "it runs on the other node")
    millpond.cancel(running)
    with pytest.raises(millpond.TaskCancelledError):
        millpond.get(running, timeout=20)


def test_actors_do_not_wait_where_others_have_taken_their_place(cluster: Cluster) -> None:
    on_cpu = Holder.options(num_cpus=1)
    actors = [on_cpu.remote() for _ in range(5)]
    ready = [actor.ready.remote() for actor in actors]
    early = millpond.wait(ready, num_returns=3)[0]  # one of each node
    assert millpond.wait(ready, num_returns=4, timeout=0.3)[0] == early
    cluster.add_node()
    four = millpond.wait(ready, num_returns=4, timeout=30)[0]
    assert len(four) == 4
    millpond.kill(next(actor for actor, ref in zip(actors, ready, strict=True) if ref in early))
    assert len(millpond.wait(ready, num_returns=5, timeout=30)[0]) == 5
    pids = [ref for ref in ready if ref not in early]
    assert len(set(millpond.get(pids))) == 2


def test_an_actor_that_waits_beside_tasks_goes_to_a_node_that_joins(
    cluster: Cluster, tmp_path: Path
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    held = hold.remote(block.remote(), begun, go_on)
    eventually(begun.exists, "the node is busy")
    holder = Holder.options(resources={"far": 1}, num_cpus=1).remote()
    ready = holder.ready.remote()
    assert millpond.wait([ready], timeout=0.3)[0] == []
    cluster.add_node(resources={"far": 1})
    assert millpond.get(ready, timeout=30) > 0
    go_on.touch()
    millpond.get(held)


def test_a_node_that_joins_gets_tasks_that_wait_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    holder = Holder.options(resources={"far": 1, "gpu": 1}).remote()
    millpond.get(holder.ready.remote())
    waiting = total.options(resources={"gpu": 1}, num_cpus=0).remote(block.remote())
    assert millpond.wait([waiting], timeout=0.3)[0] == []
    add_gpu(cluster)
    assert millpond.get(waiting, timeout=30) == 8 * MIB
