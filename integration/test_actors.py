"""Actors on real processes."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

import millpond
from integration.conftest import MIB, eventually
from millpond.api.session import connected_runtime


@millpond.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start
        self.kept: list[object] = []

    def add(self, amount: int = 1) -> int:
        self.count += amount
        return self.count

    def keep(self, value: object) -> int:
        self.kept.append(value)
        return len(self.kept)

    def total(self) -> int:
        return sum(
            int(np.sum(millpond.get(v[0] if isinstance(v, list) else v)))
            if isinstance(v, (list, millpond.ObjectRef))
            else int(np.sum(v))
            for v in self.kept
        )

    def drop(self) -> None:
        self.kept.clear()

    def fail(self) -> None:
        raise KeyError("method")

    def pid(self) -> int:
        return os.getpid()

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def pair(self) -> tuple[int, int]:
        return self.count, -self.count

    async def later(self) -> int:
        return self.count


def is_dead(actor: millpond.ActorHandle) -> bool:
    try:
        millpond.get(actor.make.remote())
    except millpond.ActorDiedError:
        return True
    return False


def test_state_order_and_options(engine: millpond.Context) -> None:
    counter = Counter.remote(10)
    assert millpond.get([counter.add.remote() for _ in range(500)]) == list(range(11, 511))
    count, negative = counter.pair.options(num_returns=2).remote()
    assert millpond.get([count, negative]) == [510, -510]
    assert millpond.get(counter.later.remote()) == 510
    with pytest.raises(AttributeError, match="no method 'missing'"):
        counter.missing  # noqa: B018
    with pytest.raises(KeyError, match="method"):
        millpond.get(counter.fail.remote())
    assert millpond.get(counter.add.remote()) == 511


def test_calls_keep_their_order_when_arguments_are_late(engine: millpond.Context) -> None:
    @millpond.remote
    def slow(value: int) -> int:
        time.sleep(0.2)
        return value

    counter = Counter.remote()
    refs = [counter.add.remote(slow.remote(5)), counter.add.remote(1), counter.add.remote(2)]
    assert millpond.get(refs) == [5, 6, 8]


def test_handles_travel_to_tasks_and_actors(engine: millpond.Context) -> None:
    @millpond.remote
    def use(handle: millpond.ActorHandle, times: int) -> int:
        return millpond.get([handle.add.remote() for _ in range(times)])[-1]

    @millpond.remote
    class Relay:
        def __init__(self, handle: millpond.ActorHandle) -> None:
            self.handle = handle

        def add(self) -> int:
            return millpond.get(self.handle.add.remote())

    counter = Counter.remote()
    millpond.get([use.remote(counter, 50) for _ in range(4)])
    relay = Relay.remote(counter)
    assert millpond.get(relay.add.remote()) == 201
    # The relay alone keeps the counter alive now.
    del counter
    gc.collect()
    time.sleep(0.05)
    assert millpond.get(relay.add.remote()) == 202


def test_arguments_that_an_actor_keeps_stay_alive(engine: millpond.Context) -> None:
    counter = Counter.remote()
    ref = millpond.put(np.ones(MIB, dtype=np.uint8))
    millpond.get(counter.keep.remote(ref))  # a view of the store
    inside = millpond.put(np.ones(MIB, dtype=np.uint8))
    millpond.get(counter.keep.remote([inside]))  # a borrowed ref
    small = millpond.put(3)
    millpond.get(counter.keep.remote([small]))
    del ref, inside, small
    gc.collect()
    time.sleep(0.05)
    assert millpond.get(counter.total.remote()) == 2 * MIB + 3
    assert millpond.statistics().store.num_objects == 2
    millpond.get(counter.drop.remote())


def test_actor_ends_with_its_last_handle_after_its_calls(engine: millpond.Context) -> None:
    counter = Counter.remote()
    pid = millpond.get(counter.pid.remote())
    last = counter.sleep.remote(0.2)
    del counter
    assert millpond.get(last) == 0.2
    eventually(lambda: pid not in millpond.statistics().processes, "the actor ends")


def test_failing_constructor(engine: millpond.Context) -> None:
    @millpond.remote
    class Broken:
        def __init__(self, value: int) -> None:
            raise ValueError("no good")

        def call(self) -> int:
            return 1

    broken = Broken.remote(1)
    with pytest.raises(millpond.ActorDiedError, match="ValueError: no good"):
        millpond.get(broken.call.remote())
    with pytest.raises(millpond.ActorDiedError, match="no good"):
        millpond.get(broken.call.remote())

    @millpond.remote
    def fail() -> int:
        raise KeyError("argument")

    never = Broken.remote(fail.remote())
    with pytest.raises(millpond.ActorDiedError, match="argument of its constructor"):
        millpond.get(never.call.remote())


def test_kill(engine: millpond.Context) -> None:
    counter = Counter.remote()
    millpond.get(counter.add.remote())
    running = counter.sleep.remote(60)
    millpond.kill(counter)
    with pytest.raises(millpond.ActorDiedError, match="was killed"):
        millpond.get(running)
    with pytest.raises(millpond.ActorDiedError, match="was killed"):
        millpond.get(counter.add.remote())
    with pytest.raises(TypeError, match="actor handle"):
        millpond.kill(3)


def test_crash_fails_unfinished_calls_once(engine: millpond.Context) -> None:
    @millpond.remote
    class Crashing:
        def crash(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def fine(self) -> int:
            return 1

    actor = Crashing.remote()
    assert millpond.get(actor.fine.remote()) == 1
    refs = [actor.crash.remote(), actor.fine.remote()]
    for ref in refs:
        with pytest.raises(millpond.ActorDiedError, match="SIGKILL"):
            millpond.get(ref)


def test_more_actors_than_cpus(engine: millpond.Context) -> None:
    actors = [Counter.remote(i) for i in range(20)]
    assert millpond.get([actor.add.remote() for actor in actors]) == list(range(1, 21))


def test_actors_take_the_cpus_of_those_that_end(engine: millpond.Context) -> None:
    actors = [Counter.options(num_cpus=1).remote(n) for n in range(5)]
    counts = [actor.add.remote(0) for actor in actors]
    assert millpond.get(counts[:2]) == [0, 1]
    assert millpond.wait(counts[2:], timeout=0.2)[0] == []
    millpond.kill(actors[2])  # it waits
    millpond.kill(actors[0])
    assert millpond.get(counts[3], timeout=20) == 3
    assert millpond.wait(counts[4:], timeout=0.2)[0] == []
    del actors[1]
    assert millpond.get(counts[4], timeout=20) == 4


def test_actors_calling_each_other(engine: millpond.Context) -> None:
    @millpond.remote
    class Ping:
        def __init__(self) -> None:
            self.other: millpond.ActorHandle | None = None

        def meet(self, other: millpond.ActorHandle) -> None:
            self.other = other

        def bounce(self, left: int) -> int:
            return left and millpond.get(self.other.echo.remote(left))

        def echo(self, value: int) -> int:
            return value

    a, b = Ping.remote(), Ping.remote()
    millpond.get([a.meet.remote(b), b.meet.remote(a)])
    assert millpond.get([a.bounce.remote(3), a.bounce.remote(4)]) == [3, 4]
    # They hold each other: a cycle across processes, which only kill can end.
    millpond.kill(a)
    millpond.kill(b)


def test_actor_that_owns_results(engine: millpond.Context) -> None:
    @millpond.remote
    class Maker:
        def make(self) -> list[millpond.ObjectRef]:
            return [millpond.put(np.ones(MIB, dtype=np.uint8)), millpond.put("small")]

    maker = Maker.remote()
    big, small = millpond.get(maker.make.remote())
    assert int(millpond.get(big).sum()) == MIB
    assert millpond.get(small) == "small"
    other_big, other_small = millpond.get(maker.make.remote())
    millpond.kill(maker)
    eventually(lambda: is_dead(maker), "the kill has reached the actor")
    for ref in (other_big, other_small):
        with pytest.raises(millpond.ObjectLostError):
            millpond.get(ref, timeout=20)


def test_many_actor_waves(start: Callable[..., millpond.Context]) -> None:
    start(num_cpus=2)
    for wave in range(3):
        actors = [Counter.remote(wave) for _ in range(8)]
        assert millpond.get([a.add.remote() for a in actors]) == [wave + 1] * 8
        del actors
    eventually(lambda: millpond.statistics().workers <= 4, "ended actors leave no workers")


def test_records_of_actors_are_forgotten_with_their_handles(engine: millpond.Context) -> None:
    calls = connected_runtime().actor_calls

    @millpond.remote
    def use(counter: millpond.ActorHandle) -> int:
        runtime = connected_runtime()
        value: int = millpond.get(counter.add.remote())
        assert len(runtime.actor_calls._actors) == 1
        return value

    @millpond.remote
    def records() -> int:
        return len(connected_runtime().actor_calls._actors)

    counters = [Counter.remote() for _ in range(3)]
    assert millpond.get([counter.add.remote() for counter in counters]) == [1, 1, 1]
    assert millpond.get(use.remote(counters[0])) == 2
    assert len(calls._actors) == 3
    millpond.kill(counters[1])
    del counters
    eventually(lambda: not calls._actors, "the driver forgets the actors")
    eventually(
        lambda: millpond.get([records.remote() for _ in range(4)]) == [0] * 4,
        "the worker forgets the actor",
    )
