"""The object store as its users see it: the limit, spilling, restoring, and freeing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

import millpond
from integration.conftest import MIB, assert_store_empty
from integration.shuffling import expected_sum, shuffle


def block(value: int, size: int = 4 * MIB) -> np.ndarray:
    return np.full(size, value % 256, dtype=np.uint8)


@millpond.remote
def make_block(value: int, size: int = 4 * MIB) -> np.ndarray:
    return block(value, size)


@millpond.remote
def check_block(array: np.ndarray, value: int) -> bool:
    return bool((array == value % 256).all())


def test_data_four_times_the_store(start: Callable[..., millpond.Context]) -> None:
    limit = 64 * MIB
    start(object_store_memory=limit)
    put = [millpond.put(block(i)) for i in range(32)]
    made = [make_block.remote(i + 32) for i in range(32)]
    checks = [check_block.remote(ref, i) for i, ref in enumerate(put + made)]
    assert all(millpond.get(checks))
    for i, ref in enumerate(put + made):
        array = millpond.get(ref)
        assert array[0] == array[-1] == i
    store = millpond.statistics().store
    assert store.peak <= limit
    assert store.spilled_bytes_total > 0
    assert store.restored_bytes_total > 0


def test_everything_pinned_is_served_from_files(start: Callable[..., millpond.Context]) -> None:
    limit = 32 * MIB
    start(object_store_memory=limit)
    refs = [millpond.put(block(i)) for i in range(24)]
    arrays = millpond.get(refs)  # three times what fits, all held at once
    assert [int(array[-1]) for array in arrays] == list(range(24))
    more = millpond.put(block(99))  # still possible while they are held
    assert millpond.get(check_block.remote(more, 99))
    assert millpond.statistics().store.peak <= limit


def test_one_object_larger_than_the_store(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=16 * MIB)
    with pytest.warns(millpond.ObjectStoreWarning, match=r"40.0 MiB .* has 16.0 MiB"):
        ref = millpond.put(block(7, 40 * MIB))
    assert millpond.get(check_block.remote(ref, 7))
    made = make_block.remote(8, 40 * MIB)
    assert int(millpond.get(made)[-1]) == 8


def test_released_objects_free_memory_and_files(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    start(object_store_memory=32 * MIB, spill=tmp_path)
    refs = [millpond.put(block(i)) for i in range(16)]
    (private,) = tmp_path.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    assert any(private.iterdir())
    del refs
    assert_store_empty()
    deadline = time.monotonic() + 10
    while any(private.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(private.iterdir())
    millpond.shutdown()
    assert not any(tmp_path.iterdir())


def test_chain_of_intermediates_needs_no_spilling(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=64 * MIB)

    @millpond.remote
    def step(array: np.ndarray) -> np.ndarray:
        return array + np.uint8(1)

    ref = make_block.remote(0)
    for _ in range(40):
        ref = step.remote(ref)
    assert millpond.get(check_block.remote(ref, 40))
    assert millpond.statistics().store.spilled_bytes_total == 0


def test_shuffle_out_of_core(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=32 * MIB)
    maps, sums = shuffle()
    del maps
    assert sum(millpond.get(sums)) == expected_sum()
    assert millpond.statistics().store.peak <= 32 * MIB


def test_without_spilling_a_full_store_is_an_error(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=16 * MIB, spill=False)
    held = [millpond.put(block(i)) for i in range(3)]
    with pytest.raises(millpond.errors.ObjectStoreFullError, match="spilling is off"):
        [millpond.put(block(i)) for i in range(4)]
    del held


def test_random_churn_keeps_every_value(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=24 * MIB)
    rng = np.random.default_rng(1)
    live: dict[int, millpond.ObjectRef] = {}
    for step in range(300):
        action = rng.integers(0, 3)
        if action == 0 or not live:
            size = int(rng.integers(1, 3 * MIB))
            live[step] = (
                millpond.put(block(step, size)) if step % 2 else make_block.remote(step, size)
            )
        elif action == 1:
            key = int(rng.choice(list(live)))
            array = millpond.get(live[key])
            assert int(array[0]) == int(array[-1]) == key % 256
        else:
            del live[int(rng.choice(list(live)))]
    checks = [check_block.remote(ref, key) for key, ref in live.items()]
    assert all(millpond.get(checks))
    assert millpond.statistics().store.peak <= 24 * MIB


def test_many_small_values_go_to_the_store(start: Callable[..., object], tmp_path: Path) -> None:
    """More small values than the store has room for do not fill the driver's heap either."""
    start(num_cpus=2, object_store_memory=16 * MIB, spill=tmp_path)
    size, count = 60_000, 400
    before = psutil.Process().memory_info().rss - psutil.Process().memory_info().shared

    @millpond.remote
    def small(value: int) -> bytes:
        return bytes([value % 256]) * size

    refs = [small.remote(value) for value in range(count)]
    refs += [millpond.put(bytes([value % 256]) * size) for value in range(count)]
    millpond.wait(refs, num_returns=len(refs))
    grown = psutil.Process().memory_info().rss - psutil.Process().memory_info().shared - before
    assert grown < count * size / 2
    assert millpond.statistics().store.spilled_bytes > count * size
    for start_at in range(0, len(refs), 500):
        values = millpond.get(refs[start_at : start_at + 500])
        for index, value in enumerate(values):
            assert value == bytes([(start_at + index) % count % 256]) * size
        del values, value
    del refs
    assert_store_empty()
