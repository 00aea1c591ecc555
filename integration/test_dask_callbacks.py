"""Dask's callbacks over computations on millpond."""

from __future__ import annotations

import io
import os
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from timeit import default_timer
from typing import Any, NamedTuple

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import psutil
import pytest
from dask.cache import Cache
from dask.callbacks import Callback
from dask.diagnostics import CacheProfiler, Profiler, ProgressBar, ResourceProfiler

import millpond
import millpond.dask
from integration.conftest import MIB, eventually
from millpond.dask import get

pytestmark = pytest.mark.usefixtures("engine")


def inc(x: int) -> int:
    return x + 1


def test_a_progress_bar_shows_how_far_it_is() -> None:
    def nap(i: int) -> int:
        time.sleep(0.1)
        return i

    with millpond.dask.enable():
        dask.compute(dask.delayed(nap)(0), dask.delayed(nap)(1))  # the workers are warm
        out = io.StringIO()
        with ProgressBar(out=out, dt=0.05):
            dask.delayed(sum)([dask.delayed(nap)(i) for i in range(20)]).compute()
    percents = {int(part.split("%")[0]) for part in out.getvalue().split("| ")[1:] if "%" in part}
    assert max(percents) == 100
    assert len(percents & set(range(10, 95))) > 3


def test_a_progress_bar_over_a_shuffle() -> None:
    frame = pd.DataFrame({"a": np.arange(4_000) % 97, "b": np.arange(4_000.0)})
    out = io.StringIO()
    with millpond.dask.enable(), ProgressBar(out=out):
        result = dd.from_pandas(frame, npartitions=8).set_index("a").b.sum().compute()
    assert result == frame.b.sum()
    assert "100% Completed" in out.getvalue()


class Ran(NamedTuple):
    """What a task knows of itself."""

    begin: float
    end: float
    worker: int


def note(*_: object) -> Ran:
    begin = default_timer()
    time.sleep(0.01)
    return Ran(begin, default_timer(), os.getpid())


def test_a_profiler_is_told_when_tasks_ran_and_where() -> None:
    """Whether it is shown values (then each task is sent on its own) or not."""
    chains = [dask.delayed(note)(dask.delayed(note)()) for _ in range(20)]
    for beside in ((), (CacheProfiler(),)):
        with millpond.dask.enable(), Profiler() as profiler:
            for other in beside:
                other.register()
            ran = dask.compute(*chains)
            for other in beside:
                other.unregister()
        by_key = {record.key: record for record in profiler.results}
        assert len(by_key) == 40
        for chain, own in zip(chains, ran, strict=True):
            record = by_key[chain.key]
            assert record.start_time <= own.begin < own.end <= record.end_time
            assert record.worker_id == own.worker != os.getpid()
        assert profiler.start_time < min(record.start_time for record in profiler.results)
        assert profiler.end_time > max(record.end_time for record in profiler.results)
        by_worker = defaultdict(list)
        for record in profiler.results:
            by_worker[record.worker_id].append((record.start_time, record.end_time))
        for spans in by_worker.values():  # a worker runs one task after the other
            spans.sort()
            assert all(one[1] <= two[0] for one, two in pairwise(spans))


def test_profilers_see_every_task() -> None:
    total = da.ones((40, 40), chunks=10).sum()
    with millpond.dask.enable(), Profiler() as profiler:
        assert total.compute() == 1600
    count = len(profiler.results)
    with millpond.dask.enable(), Profiler() as profiler, CacheProfiler() as cache:
        assert total.compute() == 1600
    assert len(profiler.results) == len(cache.results) == count > 16


def test_a_profiler_of_results_that_are_picked_apart() -> None:
    quotient, rest = dask.delayed(divmod, nout=2)(17, 5)
    total = dask.delayed(note)(quotient, rest)
    with millpond.dask.enable(), Profiler() as profiler:
        total.compute()
    spans = {record.key: (record.start_time, record.end_time) for record in profiler.results}
    for key in (quotient.key, rest.key):
        assert spans[key][0] <= spans[key][1] <= spans[total.key][0]


def test_a_profiler_of_a_computation_that_fails() -> None:
    def fail(value: Any) -> None:
        raise LookupError(value)

    first = dask.delayed(note)(dask_key_name="first")
    with millpond.dask.enable(), Profiler() as profiler, pytest.raises(LookupError) as raised:
        dask.delayed(note)(dask.delayed(fail)(first)).compute(optimize_graph=False)
    # All three are one unit: what ended before the failure is told, and the error is as it was.
    assert [record.key for record in profiler.results] == ["first"]
    assert not [name for name in vars(raised.value) if "times" in name]
    with millpond.dask.enable():
        assert dask.delayed(abs)(-1).compute() == 1


def test_a_cache_profiler_counts_what_is_held() -> None:
    x = da.ones((40, 40), chunks=20)
    with millpond.dask.enable(), CacheProfiler(metric=lambda value: value.nbytes) as cache:
        (x + x.T).sum().compute(optimize_graph=False)
    sizes = {str(record.key): record.metric for record in cache.results}
    assert max(sizes.values()) == 400 * 8
    assert all(record.cache_time <= record.free_time for record in cache.results)
    freed = {record.key: record.free_time for record in cache.results}
    assert len(set(freed.values())) > 2  # not all at the end


def test_a_resource_profiler_counts_the_workers(tmp_path: Path) -> None:
    size = 300 * MIB
    held, enough = tmp_path / "held", tmp_path / "enough"

    def hold() -> int:
        memory = np.ones(size, dtype=np.int8)
        held.touch()
        while not enough.exists():
            time.sleep(0.01)
        return int(memory[-1])

    with millpond.dask.enable():
        holding = dask.delayed(hold)().persist()
        eventually(held.exists, "the task has its memory", timeout=60)
        with ResourceProfiler(dt=0.01) as profiler:
            assert dask.delayed(abs)(-1).compute() == 1
            assert dask.delayed(abs)(-2).compute() == 2
        enough.touch()
        assert holding.compute() == 1
    own = psutil.Process().memory_info().rss
    assert max(record.mem for record in profiler.results) * 1e6 > own / 2 + size
    times = [record.time for record in profiler.results]
    assert times == sorted(times)
    assert profiler.start_time < times[0] < times[-1] < profiler.end_time
    before = len(profiler.results)
    with millpond.dask.enable(), profiler:  # a second time
        assert dask.delayed(abs)(-1).compute() == 1
    assert 0 < len(profiler.results) != before


def test_a_cache_of_results(tmp_path: Path) -> None:
    runs = tmp_path / "runs"

    def load() -> np.ndarray[Any, Any]:
        with runs.open("a") as file:
            file.write("x")
        time.sleep(0.05)  # what is costly is kept
        return np.ones(1_000)

    loaded = dask.delayed(load, pure=True)()
    cache = Cache(1e9)
    with millpond.dask.enable(), cache:
        assert loaded.sum().compute(optimize_graph=False) == 1_000
        assert loaded.max().compute(optimize_graph=False) == 1
    assert runs.read_text() == "x"
    assert loaded.key in cache.cache.data
    assert all(cost > 0 for cost in cache.cache.heap.values())


def test_what_callbacks_are_told() -> None:
    told: list[Any] = []

    class Recorder(Callback):  # type: ignore[misc]
        def _start(self, dsk: Any) -> None:
            told.append(("start", sorted(dsk)))

        def _start_state(self, dsk: Any, state: Any) -> None:
            told.append(("state", list(state["ready"]), set(state["waiting"])))

        def _pretask(self, key: Any, dsk: Any, state: Any) -> None:
            told.append(("pre", key, key in state["running"]))

        def _posttask(self, key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
            told.append(("post", key, value))

        def _finish(self, dsk: Any, state: Any, failed: bool) -> None:
            told.append(("finish", failed))

    dsk = {"a": 1, "b": (inc, "a"), "c": (inc, "b")}
    with Recorder():
        assert get(dsk, ["c", "b"]) == (3, 2)
    assert told == [
        ("start", ["a", "b", "c"]),
        ("state", ["b"], {"c"}),
        ("pre", "b", True),
        ("post", "b", 2),
        ("pre", "c", True),
        ("post", "c", 3),
        ("finish", False),
    ]
    told.clear()
    with pytest.raises(ZeroDivisionError):
        get({"a": (divmod, 1, 0), "b": (abs, "a")}, "b", callbacks=Recorder())
    assert told[-1] == ("finish", True)
    assert not Callback.active
