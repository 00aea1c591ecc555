"""Tasks of the native API on real processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import millpond
from integration.conftest import MIB, assert_store_empty, eventually


@millpond.remote
def add(a: int, b: int) -> int:
    return a + b


@millpond.remote
def make(size: int) -> np.ndarray:
    return np.ones(size, dtype=np.uint8)


@millpond.remote
def total(*arrays: np.ndarray) -> int:
    return int(sum(int(array.sum()) for array in arrays))


def test_values_and_refs_as_arguments(engine: millpond.Context) -> None:
    first = add.remote(1, 2)
    assert millpond.get(add.remote(first, b=first)) == 6


def test_many_tasks_keep_their_results_apart(engine: millpond.Context) -> None:
    refs = [add.remote(i, i) for i in range(2000)]
    assert millpond.get(refs) == [2 * i for i in range(2000)]


def test_large_arguments_and_results_are_zero_copy_and_read_only(engine: millpond.Context) -> None:
    array = np.arange(1 << 18)
    ref = millpond.put(array)
    value = millpond.get(ref)
    assert (value == array).all()
    with pytest.raises(ValueError, match="read-only"):
        value[0] = 1
    assert millpond.get(total.remote(make.remote(MIB), make.remote(MIB))) == 2 * MIB
    assert millpond.get(total.remote(np.ones(MIB, dtype=np.uint8))) == MIB
    again = millpond.get(ref)
    assert again.ctypes.data == value.ctypes.data
    eventually(lambda: millpond.statistics().store.num_objects == 1, "one object, read twice")
    # The arrays stay valid after the ref and the session are gone.
    del ref
    millpond.shutdown()
    assert (value == array).all()
    assert (again == array).all()


def test_num_returns(engine: millpond.Context) -> None:
    @millpond.remote(num_returns=3)
    def three() -> tuple[int, np.ndarray, str]:
        return 1, np.zeros(MIB), "c"

    one, array, text = three.remote()
    assert millpond.get([one, text]) == [1, "c"]
    assert millpond.get(array).shape == (MIB,)
    assert three.options(num_returns=0).remote() is None
    with pytest.raises(ValueError, match="returned 3 values"):
        millpond.get(three.options(num_returns=2).remote())


def test_nested_refs_stay_refs_and_are_borrowed(engine: millpond.Context) -> None:
    @millpond.remote
    def inner(refs: list[millpond.ObjectRef]) -> int:
        assert all(isinstance(ref, millpond.ObjectRef) for ref in refs)
        return sum(int(millpond.get(ref).sum()) for ref in refs)

    refs = [make.remote(MIB), millpond.put(np.ones(3))]
    call = inner.remote(refs)
    del refs
    assert millpond.get(call) == MIB + 3


def test_refs_inside_results_belong_to_the_worker(engine: millpond.Context) -> None:
    @millpond.remote
    def produce() -> list[millpond.ObjectRef]:
        return [millpond.put(np.ones(MIB)), add.remote(1, 1), millpond.put(b"small")]

    refs = millpond.get(produce.remote())
    assert int(millpond.get(refs[0]).sum()) == MIB
    assert millpond.get(refs[1:]) == [2, b"small"]


def test_refs_put_inside_objects_live_as_long(engine: millpond.Context) -> None:
    inside = make.remote(MIB)
    outside = millpond.put({"ref": inside})
    del inside
    found = millpond.get(outside)["ref"]
    del outside
    assert int(millpond.get(found).sum()) == MIB
    del found
    assert_store_empty()


def test_nested_tasks_lend_their_slot(start: Callable[..., millpond.Context]) -> None:
    start(num_cpus=1)

    @millpond.remote
    def fibonacci(n: int) -> int:
        if n < 2:
            return n
        return sum(millpond.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))

    assert millpond.get(fibonacci.remote(7)) == 13


def test_a_task_waits_for_one_queued_behind_it(start: Callable[..., millpond.Context]) -> None:
    start(num_cpus=1)

    @millpond.remote
    def noop() -> int:
        return 1

    @millpond.remote
    def wait_for(refs: list[millpond.ObjectRef]) -> int:
        return millpond.get(refs[0])

    millpond.get([noop.remote() for _ in range(100)])
    later = noop.options(name="later").remote()
    first = [wait_for.remote([later]) for _ in range(4)]
    assert millpond.get(first) == [1] * 4


def test_long_chain_of_dependencies(engine: millpond.Context) -> None:
    ref = add.remote(0, 0)
    for _ in range(3000):
        ref = add.remote(ref, 1)
    assert millpond.get(ref) == 3000


def test_failure_of_a_long_chain_reaches_its_end(engine: millpond.Context) -> None:
    @millpond.remote
    def fail() -> int:
        raise KeyError("root")

    ref = fail.remote()
    for _ in range(3000):
        ref = add.remote(ref, 1)
    with pytest.raises(KeyError, match="root"):
        millpond.get(ref)


class CustomError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


def test_user_exceptions_keep_their_type_and_traceback(engine: millpond.Context) -> None:
    @millpond.remote
    def fail() -> None:
        raise CustomError(7, "seven")

    with pytest.raises(CustomError) as caught:
        millpond.get(fail.remote())
    assert type(caught.value) is CustomError
    assert caught.value.code == 7
    assert isinstance(caught.value.__cause__, millpond.errors.RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)
    with pytest.raises(CustomError):
        millpond.get(add.remote(fail.remote(), 1))


def test_unpicklable_things_are_named(engine: millpond.Context) -> None:
    lock = threading.Lock()
    with pytest.raises(millpond.errors.SerializationError, match=r"\['deep'\]\[1\]"):
        add.remote({"deep": [1, lock]}, 2)

    @millpond.remote
    def closes_over() -> None:
        print(lock)

    with pytest.raises(millpond.errors.SerializationError, match="variable lock"):
        closes_over.remote()

    @millpond.remote
    def returns_lock() -> object:
        return {"here": threading.Lock()}

    with pytest.raises(millpond.errors.SerializationError, match=r"result of task.*\['here'\]"):
        millpond.get(returns_lock.remote())

    @millpond.remote
    def raises_lock() -> None:
        raise ValueError(threading.Lock())

    with pytest.raises(millpond.TaskError, match="ValueError"):
        millpond.get(raises_lock.remote())


def test_retry_exceptions(engine: millpond.Context, tmp_path: object) -> None:
    @millpond.remote(retry_exceptions=[ValueError], max_retries=2)
    def flaky(path: str, needed: int) -> int:
        with open(path, "a+") as file:  # noqa: PTH123
            file.write("x")
            file.seek(0)
            count = len(file.read())
        if count < needed:
            raise ValueError(count)
        return count

    assert millpond.get(flaky.remote(f"{tmp_path}/a", 3)) == 3
    with pytest.raises(ValueError, match="3"):
        millpond.get(flaky.remote(f"{tmp_path}/b", 4))


@pytest.mark.parametrize("how", ["exit", "signal"])
def test_crashing_task_is_retried_and_then_named(
    engine: millpond.Context, tmp_path: object, how: str
) -> None:
    @millpond.remote(max_retries=1)
    def crash(path: str) -> None:
        with open(path, "a") as file:  # noqa: PTH123
            file.write("x")
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGSEGV)

    expected = "exited with code 3" if how == "exit" else "SIGSEGV"
    with pytest.raises(millpond.WorkerCrashedError, match=rf"crash.*2 attempts.*{expected}"):
        millpond.get(crash.remote(f"{tmp_path}/count"))
    with open(f"{tmp_path}/count") as file:  # noqa: PTH123
        assert file.read() == "xx"
    assert millpond.get(add.remote(1, 1)) == 2


def test_a_crash_does_not_hurt_the_tasks_beside_it(engine: millpond.Context) -> None:
    @millpond.remote(max_retries=0)
    def crash() -> None:
        os._exit(1)

    millpond.get([add.remote(i, 1) for i in range(100)])  # pipelines from now on
    good = [add.remote(i, 1) for i in range(200)]
    bad = crash.remote()
    more = [add.remote(i, 2) for i in range(200)]
    assert millpond.get(good) == [i + 1 for i in range(200)]
    with pytest.raises(millpond.WorkerCrashedError):
        millpond.get(bad)
    assert millpond.get(more) == [i + 2 for i in range(200)]


def test_crash_with_stored_arguments_is_retried(engine: millpond.Context, tmp_path: object) -> None:
    @millpond.remote
    def crash_once(array: np.ndarray, path: str) -> int:
        if not os.path.exists(path):  # noqa: PTH110
            open(path, "w").close()  # noqa: PTH123
            os.kill(os.getpid(), signal.SIGKILL)
        return int(array.sum())

    assert millpond.get(crash_once.remote(make.remote(MIB), f"{tmp_path}/flag")) == MIB


def test_wait(engine: millpond.Context) -> None:
    @millpond.remote
    def sleep(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    slow, fast = sleep.remote(5), sleep.remote(0)
    ready, rest = millpond.wait([slow, fast])
    assert (ready, rest) == ([fast], [slow])
    assert millpond.wait([slow, fast], num_returns=2, timeout=0.01) == ([fast], [slow])
    assert millpond.wait([slow], timeout=0) == ([], [slow])
    with pytest.raises(millpond.errors.GetTimeoutError):
        millpond.get(slow, timeout=0.01)
    with pytest.raises(TimeoutError):
        millpond.get(slow, timeout=0)
    with pytest.raises(ValueError, match="more than once"):
        millpond.wait([fast, fast])
    with pytest.raises(ValueError, match="num_returns"):
        millpond.wait([fast], num_returns=2)
    assert millpond.cancel(slow)
    with pytest.raises(millpond.TaskCancelledError):
        millpond.get(slow)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("force", [False, True])
def test_cancel_running_and_queued(
    start: Callable[..., millpond.Context], *, force: bool, stored: bool, tmp_path: object
) -> None:
    start(num_cpus=1)

    @millpond.remote
    def sleep(path: str, argument: object) -> None:
        open(path, "w").close()  # noqa: PTH123
        for _ in range(10000):
            time.sleep(0.01)

    argument = make.remote(MIB) if stored else 0
    running = sleep.remote(f"{tmp_path}/running", argument)
    eventually(lambda: os.path.exists(f"{tmp_path}/running"), "the task runs")  # noqa: PTH110
    queued = sleep.remote(f"{tmp_path}/queued", argument)
    assert millpond.cancel(queued, force=force)
    assert millpond.cancel(running, force=force)
    for ref in (running, queued):
        with pytest.raises(millpond.TaskCancelledError):
            millpond.get(ref, timeout=20)
    assert not os.path.exists(f"{tmp_path}/queued")  # noqa: PTH110
    done = add.remote(1, 1)
    assert millpond.get(done) == 2
    assert not millpond.cancel(done)
    assert millpond.get(done) == 2


class SlowToLoad:
    """Takes a while to arrive in a task, and says when that begins."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_slowly, (self.path,)


def _load_slowly(path: str) -> None:
    Path(path).touch()
    time.sleep(0.5)


def test_cancel_while_the_arguments_are_loaded(engine: millpond.Context, tmp_path: Path) -> None:
    @millpond.remote
    def run(argument: object, ran: Path) -> None:
        ran.touch()

    loading, ran = tmp_path / "loading", tmp_path / "ran"
    ref = run.remote(SlowToLoad(str(loading)), ran)
    eventually(loading.exists, "the argument is being loaded")
    assert millpond.cancel(ref)
    with pytest.raises(millpond.TaskCancelledError):
        millpond.get(ref, timeout=20)
    assert not ran.exists()


def test_futures_and_await(engine: millpond.Context) -> None:
    assert add.remote(1, 2).future().result(timeout=20) == 3

    async def gather() -> list[int]:
        return list(await asyncio.gather(*[add.remote(i, i) for i in range(50)]))

    assert asyncio.run(gather()) == [2 * i for i in range(50)]


def test_custom_resources_bound_concurrency(start: Callable[..., millpond.Context]) -> None:
    start(num_cpus=4, resources={"disk": 1})

    @millpond.remote(num_cpus=0, resources={"disk": 1})
    def interval() -> tuple[float, float]:
        begun = time.monotonic()
        time.sleep(0.02)
        return begun, time.monotonic()

    spans = sorted(millpond.get([interval.remote() for _ in range(6)]))
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_bad_requests(engine: millpond.Context) -> None:
    for bad in (-1, float("nan"), float("inf"), "two"):
        with pytest.raises(ValueError, match="CPU"):
            add.options(num_cpus=bad)
    with pytest.raises(millpond.errors.ResourceError, match=r"3 of resource 'CPU'.*has 2"):
        add.options(num_cpus=3).remote(1, 1)
    with pytest.raises(millpond.errors.ResourceError, match="gpu"):
        add.options(resources={"gpu": 1}).remote(1, 1)
    with pytest.raises(TypeError, match="num_cpu"):
        add.options(num_cpu=1)
    with pytest.raises(TypeError, match="int"):
        millpond.get(3)
    with pytest.raises(TypeError, match="element 1"):
        millpond.get([millpond.put(1), 2])
    with pytest.raises(TypeError, match="stored already"):
        millpond.put(millpond.put(1))
    with pytest.raises(TypeError, match=r"\.remote"):
        add(1, 2)


def test_large_nested_fan_out(engine: millpond.Context) -> None:
    @millpond.remote
    def parent(count: int) -> int:
        return sum(millpond.get([add.remote(i, 0) for i in range(count)]))

    assert millpond.get([parent.remote(300) for _ in range(4)]) == [300 * 299 // 2] * 4


def test_tasks_from_several_threads(engine: millpond.Context) -> None:
    results: dict[int, list[int]] = {}

    def submit(index: int) -> None:
        refs = [add.options(num_returns=1).remote(index, i) for i in range(200)]
        results[index] = millpond.get(refs)

    threads = [threading.Thread(target=submit, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {index: [index + i for i in range(200)] for index in range(4)}


def test_many_returns_from_several_threads_keep_their_ids_apart(engine: millpond.Context) -> None:
    @millpond.remote(num_returns=4)
    def four(tag: int) -> list[np.ndarray]:
        return [np.full(20_000, tag + i) for i in range(4)]

    failures: list[int] = []

    def submit(tag: int) -> None:
        for _ in range(10):
            arrays = millpond.get(four.remote(tag))
            if [int(array[0]) for array in arrays] != [tag + i for i in range(4)]:
                failures.append(tag)

    threads = [threading.Thread(target=submit, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_objects_outlive_the_idleness_of_the_worker_that_owns_them(
    start: Callable[..., object],
) -> None:
    """Surplus and replaced workers end, but not before what they own is let go of."""
    start(num_cpus=2)

    @millpond.remote
    def make(value: int) -> int:
        time.sleep(0.05)
        return value

    @millpond.remote
    def nest(value: int) -> list[object]:
        return [make.remote(value), millpond.put(value), millpond.put(bytes(200_000))]

    @millpond.remote
    def deep(level: int) -> int:
        return 0 if level == 0 else millpond.get(deep.remote(level - 1)) + 1

    early = [millpond.get(nest.remote(value)) for value in range(4)]
    crowd = [deep.remote(6) for _ in range(3)]
    late = [millpond.get(nest.remote(value)) for value in range(4)]
    assert millpond.get(crowd) == [6] * 3
    time.sleep(1.0)  # what is to end has ended
    for refs in (early, late):
        for value, (made, put, large) in enumerate(refs):
            assert millpond.get([made, put, large]) == [value, value, bytes(200_000)]
    del early, late, refs, made, put, large
    eventually(lambda: millpond.statistics().workers <= 3, "the surplus workers end")
