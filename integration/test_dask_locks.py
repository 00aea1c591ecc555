"""Locks in Dask graphs, and tasks that only the driver can run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.utils import SerializableLock

import millpond
import millpond.dask
from integration.conftest import assert_store_empty
from millpond.adapters.dask import driver
from millpond.adapters.dask.locks import ProcessLock, process_lock_for


@pytest.fixture
def enabled(engine: millpond.Context) -> Iterator[millpond.Context]:
    with millpond.dask.enable():
        yield engine


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_warned", set())
    monkeypatch.setattr(driver, "_unpicklable", set())


def exclusive(folder: Path, lock: Any, i: int) -> int:
    with lock:
        (folder / "running").mkdir()  # fails where another one runs
        time.sleep(0.01)
        (folder / "running").rmdir()
    return os.getpid()


# --- pure: the lock itself --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock, SerializableLock])
def test_a_process_lock_excludes_threads(kind: Any) -> None:
    original = kind()
    lock = process_lock_for(original)
    assert lock is not None
    assert process_lock_for(original) is lock
    held: list[bool] = []
    with lock:
        thread = threading.Thread(target=lambda: held.append(lock.acquire(timeout=0.01)))
        thread.start()
        thread.join()
        assert lock.locked()
    assert held == [False]
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()
    other = process_lock_for(kind())
    assert other is not None
    with lock:
        assert other.acquire(blocking=False)
        other.release()


def test_only_a_reentrant_lock_is_reentrant() -> None:
    reentrant, plain = process_lock_for(threading.RLock()), process_lock_for(threading.Lock())
    assert reentrant is not None
    assert plain is not None
    with reentrant, reentrant:
        assert reentrant.locked()
    assert not reentrant.locked()
    with plain:
        assert not plain.acquire(blocking=False)


def test_locks_of_one_token_are_one_lock() -> None:
    assert process_lock_for(SerializableLock("a")) is process_lock_for(SerializableLock("a"))


# --- on the engine ----------------------------------------------------------------------------


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock, SerializableLock])
def test_a_lock_given_to_tasks_excludes_processes(kind: Any, tmp_path: Path) -> None:
    lock = kind()
    tasks = [dask.delayed(exclusive)(tmp_path, lock, i) for i in range(20)]
    pids = set(dask.compute(*tasks)[0:20])
    assert os.getpid() not in pids

    def closes_over(i: int) -> int:
        return exclusive(tmp_path, lock, i)

    nested = dask.delayed(closes_over)
    assert os.getpid() not in set(dask.compute(*[nested(i) for i in range(20)]))


@pytest.mark.usefixtures("enabled")
def test_a_lock_of_a_worker_that_dies_is_free(tmp_path: Path) -> None:
    lock = SerializableLock()

    def dies(lock: Any) -> None:
        lock.acquire()
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        lock.release()

    dask.delayed(dies)(lock).compute()
    dask.compute(*[dask.delayed(exclusive)(tmp_path, lock, i) for i in range(2)])


@pytest.mark.usefixtures("enabled")
def test_stores_under_a_lock(tmp_path: Path) -> None:
    x = da.arange(1_000, chunks=100)
    expected = np.arange(1_000)
    array = np.zeros(1_000, int)
    da.store(x, array, lock=True)
    np.testing.assert_array_equal(array, expected)
    mapped = np.memmap(tmp_path / "map", dtype=int, shape=(1_000,), mode="w+")
    da.store(x, mapped, lock=True)
    mapped.flush()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "map", dtype=int), expected)

    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "file.h5", "w") as file:
        data = file.create_dataset("x", (1_000,), dtype=int)
        da.store(x, data, lock=True)
        np.testing.assert_array_equal(data[:], expected)
        read = da.from_array(data, chunks=250, lock=True)
        with pytest.warns(RuntimeWarning, match="run in the driver"):
            total = (read + 1).sum().compute()
        assert total == expected.sum() + 1_000

    zarr = pytest.importorskip("zarr")
    target = zarr.open(str(tmp_path / "z"), mode="w", shape=(1_000,), chunks=(100,), dtype=int)
    da.store(x, target, lock=True)
    np.testing.assert_array_equal(target[:], expected)


@pytest.mark.usefixtures("enabled")
def test_what_cannot_be_pickled_runs_in_the_driver() -> None:
    handle = threading.local()
    known = [handle]

    def read(source: object, i: int) -> tuple[int, bool]:
        return i, source is known[0]

    def worker_side(pair: tuple[int, bool]) -> tuple[int, bool, int]:
        return (*pair, os.getpid())

    with pytest.warns(RuntimeWarning, match=r"'read' run in the driver, one at a time") as caught:
        results = dask.compute(
            *[dask.delayed(worker_side)(dask.delayed(read)(handle, i)) for i in range(6)]
        )
    assert len(caught) == 1
    assert [pair[:2] for pair in results] == [(i, True) for i in range(6)]
    assert os.getpid() not in {pair[2] for pair in results}  # only what must


@pytest.mark.usefixtures("enabled")
def test_what_follows_a_task_of_the_driver_runs_in_workers() -> None:
    handle = threading.local()
    here = dask.delayed(lambda _: np.ones(100_000))(handle, dask_key_name="read-1")

    def pid_of(array: np.ndarray, other: int) -> tuple[int, float]:
        return os.getpid(), float(array.sum()) + other

    after = [dask.delayed(pid_of)(here, dask.delayed(abs)(-i)) for i in range(4)]
    with pytest.warns(RuntimeWarning, match="'read' run in the driver"):
        results = dask.compute(*after)
    assert os.getpid() not in {pid for pid, _ in results}
    assert [total for _, total in results] == [100_000.0 + i for i in range(4)]
    assert_store_empty()


@pytest.mark.usefixtures("enabled")
def test_results_that_cannot_be_pickled_are_made_in_the_driver() -> None:
    def opens(i: int) -> Any:
        return (x for x in [i, i + 1])

    parts = [dask.delayed(opens)(i) for i in range(3)]
    used = dask.delayed(lambda *generators: sum(map(sum, generators)))(*parts)
    with pytest.warns(RuntimeWarning, match="'opens' run in the driver"):
        assert used.compute() == 9
    assert list(dask.delayed(opens)(1).compute()) == [1, 2]  # from the start, without a warning

    @dask.delayed
    def fails(generator: Any) -> None:
        raise LookupError(next(generator))

    with pytest.raises(LookupError, match="7"):
        fails(dask.delayed(opens)(7)).compute()


@pytest.mark.usefixtures("enabled")
def test_a_lock_inside_another_object_stays_there() -> None:
    class Counter:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.count = 0

    counter = Counter()

    def count(counter: Counter) -> int:
        with counter.lock:
            counter.count += 1
        return counter.count

    with pytest.warns(RuntimeWarning, match="'count' run in the driver"):
        dask.compute(*[dask.delayed(count)(counter) for _ in range(5)])
    assert counter.count == 5


@pytest.mark.usefixtures("enabled")
def test_a_process_lock_is_what_a_task_gets() -> None:
    kind = dask.delayed(lambda lock: type(lock).__name__)(threading.Lock()).compute()
    assert kind == ProcessLock.__name__
