"""Actors that come back: on one node, and on another when theirs is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import millpond
from integration.cluster_support import add_node, far_cluster, needs_cluster
from integration.conftest import MIB, assert_store_empty, eventually
from millpond.testing import Cluster


@millpond.remote(max_restarts=1)
class Log:
    """Keeps what it was told, until its process is lost."""

    def __init__(self, *first: Any) -> None:
        self.seen = list(first)

    def add(self, value: Any) -> list[Any]:
        self.seen.append(value)
        return self.seen

    def total(self) -> int:
        return sum(int(np.sum(value)) for value in self.seen)

    def pid(self) -> int:
        return os.getpid()

    def node(self) -> int:
        zygote = int(Path("/proc/self/stat").read_text().split()[3])
        return int(Path(f"/proc/{zygote}/stat").read_text().split()[3])

    def once(self, path: str) -> int:
        """Crash the first time."""
        first = not Path(path).exists()
        Path(path).touch()
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hold(self, begun: str, released: str) -> int:
        """Run until told otherwise."""
        Path(begun).touch()
        while not Path(released).exists():
            time.sleep(0.005)
        return os.getpid()

    def block(self, size: int) -> np.ndarray:
        return np.full(size, len(self.seen), dtype=np.uint8)


def test_a_crashed_actor_is_constructed_again_from_the_same_arguments(
    engine: millpond.Context,
) -> None:
    big = millpond.put(np.ones(MIB, dtype=np.uint8))
    log = Log.options(max_restarts=2).remote(1, 2, big)
    del big
    first = millpond.get(log.pid.remote())
    assert millpond.get(log.add.remote(3))[-1] == 3
    os.kill(first, signal.SIGKILL)
    eventually(lambda: pid_after_loss(log) != first, "the actor is back")
    assert millpond.get(log.total.remote()) == MIB + 3  # its state is that of a new one
    os.kill(millpond.get(log.pid.remote()), signal.SIGKILL)
    eventually(lambda: pid_after_loss(log) != 0, "the actor is back again")
    assert millpond.get(log.total.remote()) == MIB + 3


def pid_after_loss(log: millpond.ActorHandle) -> int:
    """Return the actor's process, 0 if it was lost meanwhile."""
    try:
        return int(millpond.get(log.pid.remote()))
    except millpond.ActorUnavailableError:
        return 0


def test_calls_in_flight_fail_and_later_ones_wait_in_order(engine: millpond.Context) -> None:
    log = Log.remote()
    millpond.get(log.pid.remote())
    with pytest.raises(millpond.ActorUnavailableError, match=r"SIGKILL.*restart 1 of 1"):
        millpond.get(log.crash.remote())
    assert [millpond.get(log.add.remote(n))[-1] for n in range(20)] == list(range(20))
    with pytest.raises(millpond.ActorDiedError, match=r"SIGKILL\), after 1 restart \(max_rest"):
        millpond.get(log.crash.remote())
    with pytest.raises(millpond.ActorDiedError) as caught:
        millpond.get(log.add.remote(1))
    assert not isinstance(caught.value, millpond.ActorUnavailableError)


def test_of_many_calls_those_fail_that_had_been_sent(engine: millpond.Context) -> None:
    log = Log.remote()
    refs = [log.crash.remote()] + [
        log.add.remote(n) for n in range(1500)
    ]  # more than are sent at once
    done = []
    for number, ref in enumerate(refs):
        try:
            millpond.get(ref)
        except millpond.ActorUnavailableError:
            assert not done
        else:
            done.append(number - 1)
    assert millpond.get(log.add.remote(-1)) == [*done, -1]
    assert 0 < len(done) < 1500


def test_calls_that_may_be_retried_run_again_before_those_behind_them(
    engine: millpond.Context, tmp_path: Path
) -> None:
    log = Log.options(max_task_retries=1).remote()
    first = millpond.get(log.pid.remote())
    refs = [log.once.remote(str(tmp_path / "ran"))] + [log.add.remote(n) for n in range(1500)]
    again, *added = millpond.get(refs)
    assert again != first
    assert added[-1] == list(range(1500))  # more than are sent at once


def test_a_call_is_retried_no_more_often_than_it_says(engine: millpond.Context) -> None:
    log = Log.options(max_restarts=-1).remote()
    with pytest.raises(millpond.ActorUnavailableError):
        millpond.get(log.crash.options(max_task_retries=2).remote())
    with pytest.raises(ValueError, match="max_task_retries must be an integer >= -1"):
        log.crash.options(max_task_retries=-2)
    with pytest.raises(ValueError, match=r"max_restarts must be an integer >= -1, it is 1\.5"):
        Log.options(max_restarts=1.5)


@pytest.mark.parametrize("max_restarts", [0, -1])
def test_stored_results_of_lost_calls_leave_nothing(
    engine: millpond.Context, max_restarts: int
) -> None:
    log = Log.options(max_restarts=max_restarts).remote()
    retries = -1 if max_restarts else 0
    refs = [log.block.remote(MIB) for _ in range(20)]  # the last ones are not answered any more
    crash = log.crash.remote()
    refs += [log.block.options(max_task_retries=retries).remote(MIB) for _ in range(20)]
    with pytest.raises(millpond.ActorDiedError):
        millpond.get(crash)
    lost = 0
    for ref in refs:
        try:
            assert millpond.get(ref).size == MIB
        except millpond.ActorDiedError:
            lost += 1
    assert lost <= 20 or not max_restarts
    del ref, refs
    assert_store_empty()


def test_kill_ends_an_actor_for_good_unless_told_otherwise(engine: millpond.Context) -> None:
    log = Log.options(max_restarts=-1).remote()
    first = millpond.get(log.pid.remote())
    millpond.kill(log, no_restart=False)
    eventually(lambda: pid_after_loss(log) not in (0, first), "the actor is back")
    millpond.kill(log)
    with pytest.raises(millpond.ActorDiedError, match="it was killed"):
        millpond.get(log.hold.remote("/dev/null", "/nowhere"))


def test_constructors_that_fail(engine: millpond.Context, tmp_path: Path) -> None:
    @millpond.remote(max_restarts=3)
    class Frail:
        def __init__(self, path: str, *, crash: bool) -> None:
            with Path(path).open("a") as file:
                file.write("x")
            if crash:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("no good")

        def call(self) -> None: ...

    raising, crashing = tmp_path / "raising", tmp_path / "crashing"
    with pytest.raises(millpond.ActorDiedError, match="ValueError: no good"):
        millpond.get(Frail.remote(str(raising), crash=False).call.remote())
    assert raising.read_text() == "x"
    with pytest.raises(millpond.ActorDiedError, match=r"SIGKILL\), after 3 restarts"):
        millpond.get(Frail.remote(str(crashing), crash=True).call.remote())
    assert crashing.read_text() == "xxxx"


def test_callers_in_other_processes_wait_as_well(engine: millpond.Context, tmp_path: Path) -> None:
    @millpond.remote
    def use(log: millpond.ActorHandle, path: str) -> list[int]:
        before = millpond.get(log.pid.remote())
        after = millpond.get(log.once.remote(path))  # the handle says that it may be retried
        return [before, after, millpond.get(log.pid.remote())]

    log = Log.options(max_task_retries=-1).remote()
    before, after, later = millpond.get(use.remote(log, str(tmp_path / "ran")))
    assert before != after == later


def test_arguments_of_the_constructor_are_kept_as_long_as_the_actor(
    engine: millpond.Context,
) -> None:
    log = Log.remote(np.ones(MIB, dtype=np.uint8), [millpond.put(np.ones(MIB, dtype=np.uint8))])
    millpond.get(log.pid.remote())
    del log
    assert_store_empty()


@pytest.fixture
def far() -> Iterator[Cluster]:
    """A head, a node with a resource of its own, and a driver with a small node."""
    with far_cluster(far=8) as nodes:
        yield nodes


@needs_cluster
def test_an_actor_of_a_lost_node_comes_back_on_another(far: Cluster, tmp_path: Path) -> None:
    made = millpond.remote(np.ones).options(resources={"far": 1}).remote(MIB, dtype=np.uint8)
    log = Log.options(resources={"far": 1}, max_task_retries=-1).remote(made)
    assert millpond.get(log.node.remote()) == far.nodes[-1].pid
    begun, released = tmp_path / "begun", tmp_path / "released"
    running = log.hold.remote(str(begun), str(released))
    later = log.node.remote()
    eventually(begun.exists, "the call runs")
    far.kill(far.nodes[-1])  # with the argument of the constructor, which is made again
    added = far.add_node(resources={"far": 8}, num_cpus=2)
    released.touch()
    assert millpond.get(later, timeout=60) == added.pid
    assert isinstance(millpond.get(running), int)
    assert millpond.get(log.total.remote()) == MIB


@needs_cluster
def test_a_crashed_actor_of_another_node_is_back_for_callers_of_a_third(
    far: Cluster, tmp_path: Path
) -> None:
    add_node(far, resources={"third": 1})

    @millpond.remote(resources={"third": 1}, num_cpus=0)
    def use(log: millpond.ActorHandle, path: str) -> int:
        try:
            millpond.get(log.once.remote(path))
        except millpond.ActorUnavailableError:
            return int(millpond.get(log.once.remote(path)))
        return 0

    log = Log.options(resources={"far": 1}).remote()
    first = millpond.get(log.pid.remote())
    assert millpond.get(use.remote(log, str(tmp_path / "ran"))) not in (0, first)
    assert millpond.get(log.add.remote(1)) == [1]


@needs_cluster
def test_out_of_restarts_on_another_node_it_says_how_many_there_were(far: Cluster) -> None:
    log = Log.options(resources={"far": 1}).remote()
    with pytest.raises(millpond.ActorUnavailableError):
        millpond.get(log.crash.remote())
    with pytest.raises(millpond.ActorDiedError, match="after 1 restart"):
        millpond.get(log.crash.remote())
