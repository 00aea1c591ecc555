"""Dask collections: tiny tasks, dataframes and arrays, in memory and in a quarter of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from .. import dask_work, footprint
from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature

_DASK = [Feature.DASK]
_MEGABYTE = 1e6
_FRAME = 1_000_000_000
_PARTS = 20
_SIDE = 8_000
_CHUNKS = 8
_ARRAY = 8 * _SIDE**2


@case("dask", ("dask_first_result", Unit.SECONDS), needs=_DASK)
def dask_first_result(bench: Bench) -> None:
    """A small frame, on workers that never ran anything of Dask's: imports included."""
    frame = dask_work.Frame.of_size(2, 64_000)
    with bench.engine.dask(), bench.timed():
        found = frame.build().groupby("group")["value"].agg(["count", "sum"]).compute()
    frame.check_groups(found)


@case("dask", ("dask_delayed_10k", Unit.PER_SECOND), needs=_DASK)
def dask_delayed_10k(bench: Bench) -> None:
    """10,000 delayed values, each one addition, computed at once: rate, from graph to values."""
    import dask

    count = bench.scaled(10_000)
    with bench.engine.dask():
        # The first few tell engines that learn what such a task takes.
        dask.compute([dask.delayed(dask_work.increment)(number) for number in range(100)])
        values = [dask.delayed(dask_work.increment)(number) for number in range(count)]
        with bench.timed(operations=count):
            (found,) = dask.compute(values)
    if found != list(range(1, count + 1)):
        raise AssertionError("wrong values")


@case("dask", ("dask_tree_4096", Unit.SECONDS), needs=_DASK)
def dask_tree_4096(bench: Bench) -> None:
    """The sum of 4,096 delayed values, two at a time."""
    leaves = bench.scaled(4_096)
    value = dask_work.tree(leaves)
    with bench.engine.dask(), bench.timed(operations=2 * leaves - 1):
        found = value.compute()
    if found != dask_work.tree_sum(leaves):
        raise AssertionError(f"the sum is {dask_work.tree_sum(leaves)}, not {found}")


@case("dask", ("dask_groupby", Unit.SECONDS), needs=_DASK)
def dask_groupby(bench: Bench) -> None:
    """Sum and count by group, 1 GB."""
    work = _frame(bench)
    with bench.engine.dask(), bench.timed(operations=_PARTS):
        found = work.build().groupby("group")["value"].agg(["count", "sum"]).compute()
    work.check_groups(found)


@case("dask", ("dask_shuffle", Unit.SECONDS), needs=_DASK)
def dask_shuffle(bench: Bench) -> None:
    """1 GB shuffled by group."""
    _shuffle(bench, "dask_shuffle")


@case("dask", ("dask_set_index", Unit.SECONDS), needs=_DASK)
def dask_set_index(bench: Bench) -> None:
    """1 GB sorted by a column without order."""
    _set_index(bench, "dask_set_index")


@case("dask", ("dask_matmul", Unit.SECONDS), needs=_DASK)
def dask_matmul(bench: Bench) -> None:
    """``(x @ x.T).sum()``, 8,000 by 8,000 in chunks of 1,000."""
    _matmul(bench, "dask_matmul")


@case("dask", ("dask_transpose_sum", Unit.SECONDS), needs=_DASK)
def dask_transpose_sum(bench: Bench) -> None:
    """``(x + x.T).sum()``, of the same size."""
    _transpose_sum(bench, "dask_transpose_sum")


@case(
    "dask_quarter_frame",
    ("dask_quarter_shuffle", Unit.SECONDS),
    ("dask_quarter_shuffle_peak", Unit.MEGABYTES),
    needs=_DASK,
    store_bytes=_FRAME // 4,
)
def dask_quarter_shuffle(bench: Bench) -> None:
    """The shuffle with a store (distributed: workers) of a quarter of the data."""
    with _peak(bench, "dask_quarter_shuffle_peak"):
        _shuffle(bench, "dask_quarter_shuffle")


@case(
    "dask_quarter_frame",
    ("dask_quarter_set_index", Unit.SECONDS),
    ("dask_quarter_set_index_peak", Unit.MEGABYTES),
    needs=_DASK,
    store_bytes=_FRAME // 4,
)
def dask_quarter_set_index(bench: Bench) -> None:
    """The sort with as little."""
    with _peak(bench, "dask_quarter_set_index_peak"):
        _set_index(bench, "dask_quarter_set_index")


@case(
    "dask_quarter_array",
    ("dask_quarter_matmul", Unit.SECONDS),
    ("dask_quarter_matmul_peak", Unit.MEGABYTES),
    needs=_DASK,
    store_bytes=_ARRAY // 4,
)
def dask_quarter_matmul(bench: Bench) -> None:
    """The product with as little."""
    with _peak(bench, "dask_quarter_matmul_peak"):
        _matmul(bench, "dask_quarter_matmul")


@case(
    "dask_quarter_array",
    ("dask_quarter_transpose_sum", Unit.SECONDS),
    ("dask_quarter_transpose_sum_peak", Unit.MEGABYTES),
    needs=_DASK,
    store_bytes=_ARRAY // 4,
)
def dask_quarter_transpose_sum(bench: Bench) -> None:
    """The sum with the transpose with as little."""
    with _peak(bench, "dask_quarter_transpose_sum_peak"):
        _transpose_sum(bench, "dask_quarter_transpose_sum")


def _frame(bench: Bench) -> dask_work.Frame:
    return dask_work.Frame.of_size(_PARTS, bench.scaled(_FRAME))


def _shuffle(bench: Bench, metric: str) -> None:
    work = _frame(bench)
    with bench.engine.dask(), bench.timed(metric, operations=_PARTS):
        shuffled = work.build().shuffle("group", npartitions=_PARTS)
        found = dask_work.summarize(shuffled, dask_work.groups_of)
    work.check_shuffled(found)


def _set_index(bench: Bench, metric: str) -> None:
    work = _frame(bench)
    with bench.engine.dask(), bench.timed(metric, operations=_PARTS):
        found = dask_work.summarize(work.build().set_index("order"), dask_work.order_of)
    work.check_sorted(found)


def _array_side(bench: Bench) -> int:
    """Return the rows of the array: its bytes follow the scale, in whole chunks."""
    return _CHUNKS * max(1, round(math.sqrt(bench.scaled(_ARRAY) / 8) / _CHUNKS))


def _matmul(bench: Bench, metric: str) -> None:
    side = _array_side(bench)
    with bench.engine.dask(), bench.timed(metric, operations=_CHUNKS**3):
        x = dask_work.matrix(side, side // _CHUNKS)
        found = float((x @ x.T).sum().compute())
    dask_work.check_product(side, side // _CHUNKS, found)


def _transpose_sum(bench: Bench, metric: str) -> None:
    side = _array_side(bench)
    with bench.engine.dask(), bench.timed(metric, operations=_CHUNKS**2):
        x = dask_work.matrix(side, side // _CHUNKS)
        found = float((x + x.T).sum().compute())
    dask_work.check_transpose_sum(side, side // _CHUNKS, found)


@contextmanager
def _peak(bench: Bench, metric: str) -> Iterator[None]:
    with bench.engine.dask():  # imports are measured elsewhere
        dask_work.Frame.of_size(2, 64_000).build().sum().compute()
    with footprint.watched(bench.mark) as peak:
        yield
    bench.record(metric, peak.size / _MEGABYTE)
