"""Modin on a frame four times as large as the store: what ends, and what it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import footprint
from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature

_STORE_BYTES = 2_000_000_000
_FRAME_BYTES = 4 * _STORE_BYTES
_FILES = 32
_TIMEOUT = 900
_MEGABYTE = 1e6


def _metrics(name: str) -> list[tuple[str, Unit]]:
    megabytes = [(f"{name}_{what}", Unit.MEGABYTES) for what in ("peak", "spilled", "restored")]
    return [(name, Unit.SECONDS), *megabytes]


def _case(name: str) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    return case(
        "modin_out_of_core",
        *_metrics(name),
        needs=[Feature.LARGE_FRAMES],
        max_repeats=1,
        store_bytes=_STORE_BYTES,
        timeout=_TIMEOUT,
    )


@_case("modin_large_read")
def modin_large_read(bench: Bench) -> None:
    """Read 32 Parquet files, 8 GB as a frame."""
    _frame(bench)


@_case("modin_large_groupby")
def modin_large_groupby(bench: Bench) -> None:
    """Sum amounts by zone."""
    from ..trips import AMOUNTS

    frame = _frame(bench)
    with _measured(bench, "modin_large_groupby"):
        result = _finished(frame.groupby("pickup_zone")[AMOUNTS].sum())
    _check(result["total"].sum(), bench)


@_case("modin_large_merge")
def modin_large_merge(bench: Bench) -> None:
    """Join a name and a surcharge to each trip: another 8 GB and more."""
    from .. import trips

    frame, zones = _frame(bench), bench.engine.frames().DataFrame(trips.zones())
    with _measured(bench, "modin_large_merge"):
        result = _finished(frame.merge(zones, on="pickup_zone", how="left"))
    _check(result["total"].sum(), bench)


@_case("modin_large_sort_values")
def modin_large_sort_values(bench: Bench) -> None:
    """Sort all columns by one number: every part of the result needs all of the frame."""
    frame = _frame(bench)
    with _measured(bench, "modin_large_sort_values"):
        result = _finished(frame.sort_values("total"))
    totals = result["total"].to_numpy()
    if (totals[1:] < totals[:-1]).any():
        raise AssertionError("the result is not in order")
    _check(totals.sum(), bench)


@contextmanager
def _measured(bench: Bench, name: str) -> Iterator[None]:
    """Measure a block: its time, the most memory, and what was spilled."""
    before = bench.engine.spilled()
    with footprint.watched(bench.mark) as peak, bench.timed(name):
        yield
    bench.record(f"{name}_peak", peak.size / _MEGABYTE)
    after = bench.engine.spilled()
    if before is not None and after is not None:
        bench.record(f"{name}_spilled", (after.written - before.written) / _MEGABYTE)
        bench.record(f"{name}_restored", (after.restored - before.restored) / _MEGABYTE)


def _frame(bench: Bench) -> Any:
    """Return the frame; the first case to ask for it makes the files and reads them."""
    if "frame" not in bench.shared:
        from ..trips import Trips

        directory = tempfile.TemporaryDirectory()
        bench.shared["directory"] = directory
        total = 0.0
        for number, part in enumerate(Trips.of_memory(bench.scaled(_FRAME_BYTES)).parts(_FILES)):
            path = Path(directory.name, f"part-{number:02}.parquet")
            part.write_parquet(path, row_groups=1)
            total += sum(block["total"].to_numpy().sum() for block in part.blocks())
        bench.shared["total"] = total
        with _measured(bench, "modin_large_read"):
            frame = _finished(bench.engine.frames().read_parquet(directory.name))
        bench.shared["frame"] = frame
    return bench.shared["frame"]


def _finished(value: Any) -> Any:
    from ..frames import finish

    return finish(value)


def _check(total: float, bench: Bench) -> None:
    expected = bench.shared["total"]
    if abs(total - expected) > 1e-9 * expected:
        raise AssertionError(f"the amounts are {total} together, they should be {expected}")
