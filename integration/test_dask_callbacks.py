"""Dask's callbacks over computations on millpond."""

from __future__ import annotations

import io
import time
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.callbacks import Callback
from dask.diagnostics import CacheProfiler, Profiler, ProgressBar

import millpond
import millpond.dask
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


def test_profilers_see_every_task() -> None:
    with millpond.dask.enable(), Profiler() as profiler, CacheProfiler() as cache:
        total = da.ones((40, 40), chunks=10).sum()
        assert total.compute() == 1600
    assert len(profiler.results) == len(cache.results) > 16
    assert all(task.end_time >= task.start_time for task in profiler.results)


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
