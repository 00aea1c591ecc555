"""The limit of the store, measured from outside while everything that takes memory runs at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

import millpond
from integration.conftest import MIB
from integration.outside import Watch, footprint, shared_memory

LIMIT = 64 * MIB


def block(value: int, size: int) -> np.ndarray:
    return np.full(size, value % 256, dtype=np.uint8)


@millpond.remote
def make_block(value: int, size: int) -> np.ndarray:
    return block(value, size)


@millpond.remote
def add_blocks(*arrays: np.ndarray) -> np.ndarray:
    return sum(arrays[1:], start=arrays[0].copy())


@millpond.remote
class Keeper:
    """Pins what it is given, and maps it, for as long as it lives."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def keep(self, array: np.ndarray) -> int:
        self.arrays.append(array)
        return int(array[0])


def put_and_read(seed: int) -> None:
    rng = np.random.default_rng(seed)
    live: list[tuple[millpond.ObjectRef, int]] = []
    for value in range(80):
        live.append((millpond.put(block(value, int(rng.integers(1, 4 * MIB)))), value % 256))
        ref, expected = live[int(rng.integers(len(live)))]
        array = millpond.get(ref)  # often restored
        assert array[0] == array[-1] == expected
        if len(live) > 24:
            del live[int(rng.integers(len(live)))]


def run_tasks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made: list[tuple[millpond.ObjectRef, int]] = []
    for value in range(40):
        made.append((make_block.remote(value, 2 * MIB), value % 256))
        picked = [made[int(index)] for index in rng.integers(len(made), size=3)]
        total = add_blocks.remote(*[ref for ref, _ in picked])
        made.append((total, sum(expected for _, expected in picked) % 256))
        if value % 10 == 9:
            ref, expected = made[-1]
            assert int(millpond.get(ref)[-1]) == expected
            del made[:-12]


def pin(rounds: int) -> None:
    for start in range(rounds):
        arrays = [millpond.get(millpond.put(block(start + i, 3 * MIB))) for i in range(8)]
        keeper = Keeper.remote()
        kept = [keeper.keep.remote(make_block.remote(i, 3 * MIB)) for i in range(8)]
        assert millpond.get(kept) == list(range(8))
        assert [int(array[-1]) for array in arrays] == [start + i for i in range(8)]
        millpond.kill(keeper)


def test_memory_never_exceeds_the_limit(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    start(object_store_memory=LIMIT, spill=tmp_path)
    node = millpond.statistics().processes[0]
    errors: list[BaseException] = []

    def guarded(function: Callable[[int], None], argument: int) -> None:
        try:
            function(argument)
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            errors.append(error)

    jobs = [(put_and_read, 1), (put_and_read, 2), (run_tasks, 3), (pin, 2)]
    threads = [threading.Thread(target=guarded, args=job) for job in jobs]
    heap_before = footprint([node]).private
    # The node creates all shared memory there is, and the driver and its workers only map it.
    with (
        Watch(lambda: sum(shared_memory([node, os.getpid()]).values())) as shared,
        Watch(lambda: footprint([node]).private, period=0.01) as heap,
    ):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors, errors
    store = millpond.statistics().store
    # Otherwise the mix has not used what it is about.
    assert shared.samples > 100
    assert shared.peak > LIMIT // 2
    assert store.spilled_bytes_total > LIMIT
    assert store.restored_bytes_total > LIMIT
    # The limit, and nothing that went around it into the node's own memory.
    assert shared.peak <= LIMIT, f"{shared.peak} bytes of shared memory"
    assert store.peak <= LIMIT
    grown = heap.peak - heap_before
    assert grown < LIMIT // 4, f"the node's own memory grew by {grown} bytes"
