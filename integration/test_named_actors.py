"""Actors that are found by their names, on one node and across nodes."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable

import pytest

import millpond
from integration.cluster_support import needs_cluster
from integration.conftest import eventually
from millpond.testing import Cluster


@millpond.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self) -> int:
        self.count += 1
        return self.count

    def pid(self) -> int:
        return os.getpid()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@millpond.remote
def add_to(name: str) -> int:
    return int(millpond.get(millpond.get_actor(name).add.remote()))


@millpond.remote
class Parent:
    """Owns an actor with a name."""

    def __init__(self) -> None:
        self.child = Counter.options(name="child").remote()

    def ready(self) -> int:
        return int(millpond.get(self.child.add.remote()))


def is_free(name: str) -> Callable[[], bool]:
    return lambda: name not in millpond.named_actors()


def test_every_process_finds_an_actor_by_its_name(engine: millpond.Context) -> None:
    counter = Counter.options(name="counter").remote(10)
    other = Counter.options(name="other").remote()
    assert sorted(millpond.get([add_to.remote("counter") for _ in range(4)])) == [11, 12, 13, 14]
    assert millpond.get(millpond.get_actor("counter").add.remote()) == 15
    assert millpond.get(other.add.remote()) == 1
    assert millpond.named_actors() == ["counter", "other"]
    assert "Counter" in repr(counter)


def test_an_unknown_name_is_refused_with_those_that_are_like_it(engine: millpond.Context) -> None:
    counter = Counter.options(name="counter").remote()
    with pytest.raises(millpond.ActorNotFoundError, match="named 'countre'; there are: 'counter'"):
        millpond.get_actor("countre")
    with pytest.raises(ValueError, match="no actor is named 'x'"):
        millpond.get(add_to.remote("x"))
    with pytest.raises(TypeError, match="a string, not 3"):
        millpond.get_actor(3)  # type: ignore[arg-type]
    del counter


def test_a_name_has_one_actor(engine: millpond.Context) -> None:
    first = Counter.options(name="counter").remote(5)
    with pytest.raises(millpond.ActorNameTakenError, match="of class Counter is named 'counter'"):
        Counter.options(name="counter").remote()
    same = Counter.options(name="counter", get_if_exists=True).remote(7)
    new = Counter.options(name="new", get_if_exists=True).remote(7)
    assert millpond.get([first.add.remote(), same.add.remote(), new.add.remote()]) == [6, 7, 8]


def test_names_are_checked_when_they_are_given(engine: millpond.Context) -> None:
    for name in ("", "x" * 257):
        with pytest.raises(ValueError, match="1 to 256 characters"):
            Counter.options(name=name)
    with pytest.raises(ValueError, match="give a name, too"):
        Counter.options(get_if_exists=True)
    with pytest.raises(TypeError, match="get_if_exists must be a bool, it is 1"):
        Counter.options(name="counter", get_if_exists=1)


def test_a_name_is_free_once_its_actor_has_ended(engine: millpond.Context) -> None:
    counter = Counter.options(name="counter").remote()
    millpond.get(counter.add.remote())
    del counter
    gc.collect()
    eventually(is_free("counter"), "the actor ends with its last handle")
    counter = Counter.options(name="counter").remote(1)
    millpond.kill(counter)
    eventually(is_free("counter"), "the actor was killed")
    counter = Counter.options(name="counter").remote(2)
    with pytest.raises(millpond.ActorDiedError):
        millpond.get(counter.crash.remote())
    # Who hears of the death of an actor can use its name.
    counter = Counter.options(name="counter").remote(3)
    assert millpond.get(counter.add.remote()) == 4


def test_a_name_is_free_though_its_actor_was_never_constructed(engine: millpond.Context) -> None:
    @millpond.remote
    def fail() -> int:
        raise KeyError("argument")

    counter = Counter.options(name="counter").remote(fail.remote())
    with pytest.raises(millpond.ActorDiedError, match="argument of its constructor"):
        millpond.get(counter.add.remote())
    assert millpond.named_actors() == []


def test_a_name_stays_while_its_actor_is_restarted(engine: millpond.Context) -> None:
    counter = Counter.options(name="counter", max_restarts=1, max_task_retries=-1).remote(3)
    pid = millpond.get(counter.pid.remote())
    os.kill(pid, signal.SIGKILL)
    again = millpond.get_actor("counter")
    eventually(lambda: millpond.get(again.pid.remote()) != pid, "the actor is back")
    assert millpond.get(millpond.get_actor("counter").add.remote()) == 4


def test_a_handle_that_was_found_keeps_the_actor_alive(engine: millpond.Context) -> None:
    @millpond.remote
    class Finder:
        def find(self) -> None:
            self.counter = millpond.get_actor("counter")

        def add(self) -> int:
            return int(millpond.get(self.counter.add.remote()))

    counter = Counter.options(name="counter").remote()
    finder = Finder.remote()
    millpond.get(finder.find.remote())
    del counter
    gc.collect()
    assert millpond.get([finder.add.remote() for _ in range(3)]) == [1, 2, 3]
    millpond.kill(finder)
    eventually(is_free("counter"), "the actor ends with its last handle")


def test_an_actor_of_a_worker_ends_with_it(engine: millpond.Context) -> None:
    parent = Parent.remote()
    assert millpond.get(parent.ready.remote()) == 1
    child = millpond.get_actor("child")
    assert millpond.get(child.add.remote()) == 2
    millpond.kill(parent)
    eventually(is_free("child"), "the name is free")
    with pytest.raises(millpond.ActorDiedError, match=r"its owner .* died"):
        millpond.get(child.add.remote())


@needs_cluster
def test_names_hold_across_nodes() -> None:
    with Cluster(num_nodes=2, num_cpus=1, resources={"far": 1}) as cluster:
        cluster.connect()
        counter = Counter.options(name="counter", resources={"far": 1}).remote()
        far_add = add_to.options(resources={"far": 1})
        assert millpond.get([far_add.remote("counter"), add_to.remote("counter")]) in (
            [1, 2],
            [2, 1],
        )

        @millpond.remote(resources={"far": 1})
        def take(name: str) -> str:
            try:
                Counter.options(name=name).remote()
            except millpond.ActorNameTakenError:
                return "taken"
            return "free"

        assert millpond.get(take.remote("counter")) == "taken"
        assert millpond.get(take.remote("fresh")) == "free"
        eventually(is_free("fresh"), "the actor ends with its handle")
        millpond.kill(counter)
        eventually(is_free("counter"), "the actor was killed")


@needs_cluster
def test_names_go_with_the_node_that_owned_their_actors() -> None:
    with Cluster(num_nodes=1) as cluster:
        lost = cluster.add_node(resources={"far": 2})
        cluster.connect()
        parent = Parent.options(resources={"far": 1}).remote()
        assert millpond.get(parent.ready.remote()) == 1
        child = millpond.get_actor("child")
        cluster.kill(lost)
        eventually(is_free("child"), "the name is free")
        with pytest.raises(millpond.ActorDiedError):
            millpond.get(child.add.remote())


@needs_cluster
def test_who_loses_the_cluster_keeps_the_names_of_his_own_actors() -> None:
    with Cluster(num_nodes=1) as cluster:
        cluster.connect(resources={"here": 1})
        counter = Counter.options(name="counter", resources={"here": 1}).remote()
        millpond.get(counter.add.remote())
        cluster.kill(cluster.nodes[0])
        eventually(lambda: len(millpond.nodes()) == 1, "the cluster is lost")
        assert millpond.get(millpond.get_actor("counter").add.remote()) == 2
