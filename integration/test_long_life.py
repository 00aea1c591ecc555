"""A session that works for a long time: nothing may grow in it, whatever it did.

`MILLPOND_LONG_LIFE` is for how many seconds, 20 by default.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import pytest

import millpond
from integration.conftest import MIB, assert_store_empty, eventually
from integration.outside import Footprint, Watch, files_below, footprint

SECONDS = float(os.environ.get("MILLPOND_LONG_LIFE", "20"))
#: The engine rests after each round, and is looked at.
ROUNDS = max(10, round(SECONDS / 20))
#: Rounds in which caches fill, workers import, and heaps find their size.
WARM_UP = ROUNDS // 3

STORE = 32 * MIB
CLIENTS = 3
LARGEST = 2 * MIB
#: Objects that each client holds at most: together twice what the store holds.
HELD = 42
#: The objects each client begins with: together twice what the store holds, however slow all is.
FIRST = 12

#: By how much memory may grow after the warm-up, as its median slope tells, however long the run:
#: about three times what healthy runs of 20 to 240 s showed. Short runs find large leaks only.
GROWTH = {"driver": 6 * MIB, "node": 3 * MIB, "workers": 12 * MIB}


@millpond.remote
def make_block(value: int, size: int) -> np.ndarray:
    return np.full(size, value % 256, dtype=np.uint8)


@millpond.remote
def first_and_last(array: np.ndarray) -> tuple[int, int]:
    return int(array[0]), int(array[-1])


@millpond.remote
def make_nested(value: int, size: int) -> np.ndarray:
    return millpond.get(make_block.remote(value, size)).copy()


@millpond.remote(num_returns=4)
def split(value: int, size: int) -> list[np.ndarray]:
    return [np.full(size // 4 + 1, value % 256, dtype=np.uint8) for _ in range(4)]


@millpond.remote
def fail(value: int) -> None:
    raise LookupError(value)


@millpond.remote
class Shelf:
    """Borrows what it is given, one thing at a time."""

    def __init__(self) -> None:
        self.ref: list[millpond.ObjectRef] = []

    def borrow(self, refs: list[millpond.ObjectRef]) -> int:
        self.ref = refs
        return int(millpond.get(refs[0])[0])


class Client:
    """Uses the engine in every way there is, at random, and checks every value."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.live: list[tuple[millpond.ObjectRef, int]] = []
        self.shelf = Shelf.remote()
        self.done = 0

    def run(self, until: float) -> None:
        actions = [self.put, self.make, self.split, self.read, self.check, self.nest, self.wait]
        rare = [self.fail, self.borrow, self.replace_actor]
        for value in range(FIRST):
            self.put(value)
        while time.monotonic() < until:
            some = rare if self.random.random() < 0.05 else actions
            some[int(self.random.integers(len(some)))](self.done)
            self.done += 1
            while len(self.live) > HELD:
                del self.live[int(self.random.integers(len(self.live)))]

    def size(self) -> int:
        return int(2 ** self.random.uniform(0, np.log2(LARGEST)))

    def pick(self) -> tuple[millpond.ObjectRef, int]:
        if not self.live:
            self.put(1)
        return self.live[int(self.random.integers(len(self.live)))]

    def put(self, value: int) -> None:
        array = np.full(LARGEST - 1, value % 256, dtype=np.uint8)
        self.live.append((millpond.put(array), value % 256))

    def make(self, value: int) -> None:
        self.live.append((make_block.remote(value, self.size()), value % 256))

    def split(self, value: int) -> None:
        self.live += [(ref, value % 256) for ref in split.remote(value, self.size())]

    def read(self, _: int) -> None:
        ref, expected = self.pick()
        array = millpond.get(ref)
        assert array[0] == array[-1] == expected

    def check(self, _: int) -> None:
        ref, expected = self.pick()
        assert millpond.get(first_and_last.remote(ref)) == (expected, expected)

    def nest(self, value: int) -> None:
        self.live.append((make_nested.remote(value, self.size()), value % 256))

    def wait(self, value: int) -> None:
        refs = [make_block.remote(value, 10) for _ in range(5)]
        ready, rest = millpond.wait(refs, num_returns=2)
        assert len(ready) == 2
        assert len(rest) == 3

    def fail(self, value: int) -> None:
        with pytest.raises(LookupError, match=str(value)):
            millpond.get(fail.remote(value))

    def borrow(self, _: int) -> None:
        ref, expected = self.pick()
        assert millpond.get(self.shelf.borrow.remote([ref])) == expected

    def replace_actor(self, _: int) -> None:
        millpond.kill(self.shelf)
        self.shelf = Shelf.remote()


def work_for(seconds: float, seed: int) -> int:
    """Let new clients work side by side, and forget all they made; return how much they did."""
    errors: list[BaseException] = []
    done = []
    until = time.monotonic() + seconds

    def run(client_seed: int) -> None:
        try:
            client = Client(client_seed)
            client.run(until)
            millpond.get([ref for ref, _ in client.live])
            done.append(client.done)
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(seed * CLIENTS + number,)) for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(done)


@dataclass
class History:
    """What was seen at rest, round by round."""

    driver: list[Footprint] = field(default_factory=list)
    node: list[Footprint] = field(default_factory=list)
    workers: list[Footprint] = field(default_factory=list)

    def add(self) -> None:
        node, *workers = millpond.statistics().processes
        self.driver.append(footprint([os.getpid()]))
        self.node.append(footprint([node]))
        self.workers.append(footprint(workers))

    def growth(self, who: str) -> float:
        """Bytes by which private memory grew from the warm-up to the end.

        The median of all slopes between two rounds (Theil 1950): single rounds may be odd.
        """
        sizes = [seen.private for seen in getattr(self, who)[WARM_UP:]]
        pairs = combinations(enumerate(sizes), 2)
        return median((b - a) / (j - i) for (i, a), (j, b) in pairs) * (len(sizes) - 1)


def at_rest(warm: Footprint) -> bool:
    """Whether descriptors and threads are no more than they were, but for connections.

    Workers connect to each other when they need to; a leak is one for each of many actions.
    """
    now = footprint([os.getpid(), *millpond.statistics().processes])
    return now.descriptors <= warm.descriptors + 8 and now.threads <= warm.threads + 2


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 1.5 + 120)
def test_nothing_grows(start: Callable[..., millpond.Context], tmp_path: Path) -> None:
    start(object_store_memory=STORE, spill=tmp_path)
    history = History()
    warm = Footprint(0, 0, 0)
    done = 0

    def spilled_bytes() -> int:
        return sum(files_below(tmp_path).values())

    with Watch(spilled_bytes, period=0.05) as spilled:
        for number in range(ROUNDS):
            done += work_for(SECONDS / ROUNDS, number)
            gc.collect()
            assert_store_empty()
            eventually(lambda: spilled_bytes() == 0, f"{files_below(tmp_path)} hold nothing")
            if number == WARM_UP:
                warm = footprint([os.getpid(), *millpond.statistics().processes])
            elif number > WARM_UP:
                eventually(
                    partial(at_rest, warm),
                    f"no more descriptors and threads than {warm}, after round {number}",
                )
            history.add()
    store = millpond.statistics().store
    print(f"{done} actions, {store.spilled_bytes_total >> 20} MiB spilled, ", end="")
    print(f"at most {spilled.peak >> 20} MiB at a time")
    for who in GROWTH:
        print(who, [seen.private >> 10 for seen in getattr(history, who)], "KiB")
        print(who, [(seen.descriptors, seen.threads) for seen in getattr(history, who)])
    assert store.spilled_bytes_total > STORE
    assert store.restored_bytes_total > STORE
    # What is on the disk is what lives, and a part of what died: it is found again.
    assert 0 < spilled.peak < 4 * CLIENTS * (HELD + 4) * LARGEST
    for who, limit in GROWTH.items():
        assert history.growth(who) < limit, f"the memory of the {who} grows"
