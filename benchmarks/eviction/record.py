"""Records the traces from real runs, and turns what the node noted into a `Trace`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .trace import Trace, TracedTask

__all__ = ["TRACES", "record_all", "to_trace"]

TRACES = Path(__file__).parent / "traces"


def to_trace(name: str, lines: Iterable[list[Any]], *, in_order: bool = False) -> Trace:
    """Return the trace of a run with one owner from the lines that the node recorded.

    Args:
        name: of the trace.
        lines: that the node recorded.
        in_order: whether the tasks asked to be run in the order of submission.
    """
    numbers: dict[str, int] = {}
    sizes: list[int] = []
    needed: dict[int, list[str]] = {}
    returns: dict[int, int] = {}
    made: dict[int, list[int]] = {}
    kept: set[str] = set()
    deleted_late: set[str] = set()
    for kind, *rest in lines:
        if kind == "submit":
            task_id, count, arguments = rest
            needed[_order(task_id)] = arguments
            returns[_order(task_id)] = count
        elif kind == "create":
            ids, their_sizes = rest
            for object_id, size in zip(ids, their_sizes, strict=True):
                numbers[object_id] = len(sizes)
                sizes.append(size)
                kept.add(object_id)
            made[_order(ids[0])] = [numbers[object_id] for object_id in ids]
        elif kind == "delete":
            deleted_late.update(rest[0])
        if kind in {"create", "finish"}:  # what was deleted before this was not held to the end
            kept -= deleted_late
            deleted_late.clear()
    # What a queued task stored belongs to it, whichever of its results were large enough for that.
    tasks: dict[int, TracedTask] = {}
    for order, count in returns.items():
        outputs = [n for at in range(order, order + max(count, 1)) for n in made.pop(at, ())]
        arguments = tuple(numbers[object_id] for object_id in needed[order] if object_id in numbers)
        tasks[order] = TracedTask(arguments, tuple(outputs))
    for order, outputs in made.items():
        tasks[order] = TracedTask((), tuple(outputs))
    ordered = [tasks[order] for order in sorted(tasks)]
    numbers_kept = frozenset(numbers[object_id] for object_id in kept)
    return Trace(name, sizes, ordered, numbers_kept, in_order)


def _order(object_id: str) -> int:
    return int(object_id[16:], 16)


def record_all() -> None:
    """Run the programs and write their traces."""
    TRACES.mkdir(exist_ok=True)
    for name, program, in_order in (
        ("shuffle", _shuffle, False),
        ("matmul", _matmul, True),
        ("groupby", _groupby, True),
        ("frame", _frame, False),
    ):
        trace = _record(name, program, in_order=in_order)
        trace.save(TRACES / f"{name}.json.gz")


def _record(name: str, program: Callable[[], None], *, in_order: bool) -> Trace:
    import millpond

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trace"
        os.environ["MILLPOND_TRACE"] = str(path)
        try:
            millpond.init(num_cpus=2, object_store_memory=1 << 30)
            program()
        finally:
            millpond.shutdown()
            del os.environ["MILLPOND_TRACE"]
        lines = map(json.loads, path.read_text().splitlines())
        return to_trace(name, lines, in_order=in_order)


def _shuffle() -> None:
    import numpy as np

    import millpond

    parts = 40

    @millpond.remote(num_returns=parts)
    def split(seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        return [rng.random(int(rng.integers(10_000, 20_000))) for _ in range(parts)]

    @millpond.remote
    def merge(*pieces: Any) -> Any:
        return np.sort(np.concatenate(pieces))

    maps = [split.remote(seed) for seed in range(parts)]
    merged = [merge.remote(*[row[column] for row in maps]) for column in range(parts)]
    del maps
    millpond.wait(merged, num_returns=parts)


def _matmul() -> None:
    import dask
    import dask.array as da

    import millpond.dask  # noqa: F401 - registers the scheduler

    x = da.random.default_rng(0).random((4000, 4000), chunks=(400, 400))
    with dask.config.set(scheduler="millpond"):
        (x @ x.T).sum().compute()


def _groupby() -> None:
    import dask
    import dask.dataframe as dd
    import numpy as np
    import pandas as pd

    import millpond.dask  # noqa: F401 - registers the scheduler

    def part(seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        keys = rng.integers(0, 100_000, 200_000)
        return pd.DataFrame({"key": keys, "x": rng.random(200_000), "y": rng.random(200_000)})

    frame = dd.from_map(part, range(24))
    with dask.config.set(scheduler="millpond", **{"dataframe.shuffle.method": "tasks"}):
        grouped = frame.shuffle("key").map_partitions(
            lambda shuffled: shuffled.groupby("key").agg({"x": "mean", "y": "max"}).describe()
        )
        grouped.compute()


def _frame() -> None:
    import modin.config
    import numpy as np
    import pandas as pd

    parts, rows = 24, 50_000
    rng = np.random.default_rng(0)
    plain = pd.DataFrame(rng.random((parts * rows, 6)), columns=list("abcdef"))
    plain["key"] = rng.integers(0, 10, len(plain))
    modin.config.Engine.put("Millpond")
    modin.config.NPartitions.put(parts)
    import modin.pandas as mpd

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "frame.parquet"
        plain.to_parquet(path, row_group_size=rows)
        frame = mpd.read_parquet(path)
        frame = frame[frame["a"] < 0.9]
        frame["g"] = frame["b"] * (1 - frame["c"])
        frame["h"] = frame["g"] * (1 + frame["d"])
        groups = frame.groupby("key")
        groups[["a", "e", "f", "g", "h"]].sum().modin.to_pandas()
        groups.size().modin.to_pandas()
