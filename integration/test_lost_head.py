"""A head that dies and is started again: nothing hangs, and who joins it anew works."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import millpond
from integration.cluster_support import needs_cluster
from integration.conftest import MIB, eventually
from integration.test_cli import fail, run, succeed
from integration.test_cluster_cli import SMALL, free_port
from millpond.errors import ResourceError

pytestmark = needs_cluster


@millpond.remote(resources={"far": 1}, num_cpus=0)
def block(begun: str = "") -> np.ndarray:
    """Return a block, but for the first time in which it is told to begin."""
    if begun and not Path(begun).exists():
        Path(begun).touch()
        time.sleep(600)
    return np.ones(MIB, dtype=np.uint8)


@millpond.remote
def total(array: np.ndarray) -> int:
    return int(array.sum())


@millpond.remote(max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where the head of a cluster listens that was started from a shell, with one more node."""
    monkeypatch.setenv("MILLPOND_TOKEN", "t" * 32)
    port = free_port()
    start_cluster(port)
    yield port
    millpond.shutdown()
    run("stop")
    succeed("start", "--head", "--port", "0", *SMALL)  # removes what the killed ones have left
    succeed("stop")


def start_cluster(port: int) -> None:
    succeed("start", "--head", "--port", str(port), *SMALL)
    succeed("start", "--address", f"127.0.0.1:{port}", "--resource", "far=4", *SMALL)


def connect(port: int) -> None:
    settings = {"num_cpus": 1, "object_store_memory": 64 * MIB, "preload": []}
    millpond.init(address=f"127.0.0.1:{port}", **settings)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def lose_head() -> None:
    """Kill the head; all other nodes but the driver's end by themselves."""
    pids = [node.pid for node in millpond.nodes() if not node.is_here]
    os.kill(pids[0], signal.SIGKILL)
    eventually(lambda: all(map(is_gone, pids)), "the nodes have ended")
    eventually(lambda: len(millpond.nodes()) == 1, "the driver's node is alone")


def test_what_only_lost_nodes_could_run_fails_and_the_rest_goes_on(
    port: int, tmp_path: Path
) -> None:
    connect(port)
    begun = tmp_path / "begun"
    stored = block.remote()
    # Where the block is: a copy of it elsewhere would outlive that node.
    assert millpond.get(total.options(resources={"far": 1}).remote(stored)) == MIB
    on_far = Counter.options(resources={"far": 1}, name="counter")
    here, far = Counter.remote(), on_far.remote()
    assert millpond.get([here.add.remote(), far.add.remote()]) == [1, 1]
    running = block.remote(str(begun))
    behind = total.options(resources={"far": 4}).remote(stored)
    eventually(begun.exists, "the task runs")
    lose_head()
    for ref in (running, behind, stored, total.remote(stored)):
        with pytest.raises(ResourceError, match=r"'far', this node has 0.*on its own"):
            millpond.get(ref, timeout=30)
    with pytest.raises(millpond.ActorDiedError, match="'far', this node has 0"):
        millpond.get(far.add.remote(), timeout=30)
    with pytest.raises(millpond.ActorNotFoundError):
        millpond.get_actor("counter")
    with pytest.raises(ResourceError, match="'far'"):
        millpond.get(block.remote(), timeout=30)
    with pytest.raises(ResourceError, match="'far'"):
        on_far.remote()
    assert millpond.get(here.add.remote(), timeout=30) in (1, 2)  # it may have been elsewhere
    assert millpond.get(total.remote(np.ones(MIB, dtype=np.uint8)), timeout=30) == MIB


def test_tasks_of_tasks_fail_as_well(port: int) -> None:
    connect(port)

    @millpond.remote
    def nested() -> int:
        return int(millpond.get(total.remote(block.remote()), timeout=30))

    assert millpond.get(nested.remote()) == MIB
    lose_head()
    with pytest.raises(ResourceError, match="'far'"):
        millpond.get(nested.remote(), timeout=30)


def test_a_head_that_is_started_again_is_that_of_a_new_cluster(port: int) -> None:
    connect(port)
    assert millpond.get(total.remote(block.remote())) == MIB
    lose_head()
    assert "no node of a cluster runs here" in fail("token")
    start_cluster(port)
    assert f"--address 127.0.0.1:{port}" in succeed("token")
    assert len(millpond.nodes()) == 1  # this driver's session goes on as it is
    millpond.shutdown()
    connect(port)
    assert len(millpond.nodes()) == 3
    assert millpond.get(total.remote(block.remote())) == MIB
