"""Failures of Dask tasks on millpond: original types, tracebacks, and nothing left running."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import millpond
import millpond.dask
from integration.conftest import assert_store_empty
from millpond.errors import RemoteTraceback, WorkerCrashedError


class CustomError(ValueError):
    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(code)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return _custom, (self.args[0], self.detail)


def _custom(code: int, detail: str) -> CustomError:
    return CustomError(code, detail=detail)


def fails_for(i: int) -> int:
    if i == 3:
        raise CustomError(i, detail="three")
    return i


@pytest.fixture(autouse=True)
def enabled(engine: millpond.Context) -> Iterator[millpond.Context]:
    with millpond.dask.enable():
        yield engine


def test_the_original_error_with_the_remote_traceback() -> None:
    total = dask.delayed(sum)([dask.delayed(fails_for)(i) for i in range(6)])
    with pytest.raises(CustomError) as caught:
        total.compute()
    error = caught.value
    assert error.args == (3,)
    assert error.detail == "three"
    assert any("in the Dask task 'fails_for-" in note for note in error.__notes__)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert 'raise CustomError(i, detail="three")' in str(error.__cause__)
    ours = str(Path(millpond.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)[:-1]  # Dask keeps the last
    assert not [frame for frame in frames if frame.filename.startswith(ours)]
    del caught, error
    assert_store_empty()


def test_the_first_failure_cancels_the_rest(tmp_path: Path) -> None:
    def slow(i: int) -> int:
        time.sleep(0.05)
        (tmp_path / str(i)).touch()
        return i

    def fail() -> None:
        raise LookupError("early")

    tasks = [dask.delayed(slow)(i) for i in range(200)]
    with pytest.raises(LookupError, match="early"):
        dask.compute(dask.delayed(fail)(), *[dask.delayed(abs)(task) for task in tasks])
    started = len(list(tmp_path.iterdir()))
    assert started < 60
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= started + 2  # those that ran already
    assert dask.delayed(abs)(-1).compute() == 1


def test_interrupting_cancels_everything(tmp_path: Path) -> None:
    def slow(i: int) -> int:
        (tmp_path / str(i)).touch()
        time.sleep(0.1)
        return i

    total = dask.delayed(sum)([dask.delayed(slow)(i) for i in range(100)])
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        total.compute()
    timer.join()
    time.sleep(0.2)
    started = len(list(tmp_path.iterdir()))
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == started < 100
    assert dask.delayed(abs)(-1).compute() == 1
    assert_store_empty()


def test_a_task_that_kills_its_worker() -> None:
    def crash() -> None:
        os._exit(3)

    with pytest.raises(WorkerCrashedError, match="crash"):
        dask.delayed(crash)().compute()
    assert dask.delayed(abs)(-1).compute() == 1


def test_a_failure_does_not_keep_results_alive() -> None:
    def fail(a: np.ndarray) -> None:
        raise ArithmeticError(a.size)

    large = dask.delayed(np.ones)(1 << 20)
    with pytest.raises(ArithmeticError) as caught:
        dask.compute(large, dask.delayed(fail)(large))
    assert_store_empty()
    assert caught.value.args == (1 << 20,)


def test_a_failure_of_what_is_tried_out_first_does_not_keep_the_others_alive() -> None:
    def make(i: int) -> np.ndarray:
        if i == 50:
            raise ArithmeticError(i)
        return np.ones(1 << 15)

    with pytest.raises(ArithmeticError) as caught:
        dask.compute(*[dask.delayed(make)(i) for i in range(100)])
    assert_store_empty()
    assert caught.value.args == (50,)


def test_a_store_that_fails_while_persisting_does_not_keep_results_alive() -> None:
    class Full:
        shape, dtype = (1 << 20,), np.dtype(float)

        def __setitem__(self, key: object, value: object) -> None:
            raise ArithmeticError("full")

    chunks = da.ones(1 << 20, chunks=1 << 18)
    stored = da.store(chunks + 1, Full(), compute=False)
    with pytest.raises(ArithmeticError, match="full") as caught:
        dask.persist(chunks, stored)
    assert_store_empty()
    assert caught.traceback


def test_a_failed_task_is_run_again_here_where_that_is_asked_for() -> None:
    def divide(array: np.ndarray, by: int) -> int:
        pid = os.getpid()
        array[0] = 1  # in the worker that takes a copy
        return int(array.sum()) // by + pid * 0

    parts = [dask.delayed(np.ones)(50_000) for _ in range(3)]
    divided = [dask.delayed(divide)(part, by) for by, part in enumerate(parts)]
    total = dask.delayed(sum)([dask.delayed(abs)(each) for each in divided])
    for ask in ({"rerun_exceptions_locally": True}, {}):
        with pytest.raises(ZeroDivisionError) as caught, dask.config.set(ask):
            total.compute()
        innermost = list(traceback.walk_tb(caught.value.__traceback__))[-1][0].f_locals
        assert (innermost.get("pid") == os.getpid()) is bool(ask)
    with pytest.raises(ZeroDivisionError) as caught:
        total.compute(rerun_exceptions_locally=True)
    innermost = list(traceback.walk_tb(caught.value.__traceback__))[-1][0].f_locals
    assert innermost["array"].shape == (50_000,)


@pytest.mark.parametrize("count", [2, 100])
def test_a_task_that_writes_into_its_inputs_fails_where_it_must_not_run_twice(
    tmp_path: Path, count: int
) -> None:
    def write(array: np.ndarray, name: int) -> float:
        with (tmp_path / str(name)).open("a") as file:
            file.write("x")
        array[0] = 5
        return float(array[0])

    source = dask.delayed(np.ones)(20_000)
    written = [dask.delayed(write)(source, i) for i in range(count)]
    with (
        dask.config.set({"millpond.copy-inputs": False}),
        pytest.raises(ValueError, match="read-only"),
    ):
        dask.compute(*written)
    assert {len(path.read_text()) for path in tmp_path.iterdir()} == {1}
    assert dask.compute(*written) == (5.0,) * count
