"""Modin on taxi trips, 500 MB as CSV: what its users run, beside plain pandas."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..bench import Bench
from ..catalogue import CASES, Unit, case
from ..engines import Feature
from ..workloads import income

if TYPE_CHECKING:
    import pandas as pd

    from ..trips import Trips

_CSV_BYTES = 500_000_000
#: An operation is run this often, but not again when it has taken as many seconds as that.
_RUNS, _ENOUGH = 3, 5.0
_BY = "pickup_zone"
#: What the answers are checked with.
_PLAIN = [_BY, "passengers", "distance", "fare", "tip", "total"]


@dataclass(frozen=True, slots=True)
class _Data:
    """The files, and what is known of them."""

    trips: Trips
    csv: Path
    parquet: Path
    #: Some columns, in plain pandas.
    plain: pd.DataFrame
    #: Removes the files when it is dropped.
    directory: tempfile.TemporaryDirectory[str]


@case("modin", ("modin_read_csv", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_read_csv(bench: Bench) -> None:
    """Read all of the CSV file, times as times."""
    from ..trips import TIMES

    data, frames = _data(bench), bench.engine.frames()
    frame = _timed(bench, lambda: frames.read_csv(data.csv, parse_dates=TIMES))
    _check_read(frame, data)


@case("modin", ("modin_read_parquet", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_read_parquet(bench: Bench) -> None:
    """Read all of the Parquet file, of eight row groups."""
    data, frames = _data(bench), bench.engine.frames()
    frame = _timed(bench, lambda: frames.read_parquet(data.parquet))
    _check_read(frame, data)


@case("modin", ("modin_groupby", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_groupby(bench: Bench) -> None:
    """Sum all numbers by one of 265 zones."""
    from ..trips import AMOUNTS

    frame = _frame(bench)
    result = _timed(bench, lambda: frame.groupby(_BY)[AMOUNTS].sum())  # noqa: PLW0108
    expected = _data(bench).plain.groupby(_BY)[["fare", "tip"]].sum()
    _check_same(result[["fare", "tip"]], expected)


@case("modin", ("modin_groupby_agg", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_groupby_agg(bench: Bench) -> None:
    """Several aggregates of several columns, by number of passengers."""
    frame = _frame(bench)
    aggregates = {"fare": "mean", "distance": "max", "tip": "sum", "total": "count"}
    result = _timed(bench, lambda: frame.groupby("passengers").agg(aggregates))
    _check_same(result, _data(bench).plain.groupby("passengers").agg(aggregates))


@case("modin", ("modin_merge", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_merge(bench: Bench) -> None:
    """Join a name and a surcharge to each trip, from a small table."""
    from .. import trips

    frame, zones = _frame(bench), bench.engine.frames().DataFrame(trips.zones())
    result = _timed(bench, lambda: frame.merge(zones, on=_BY, how="left"))
    expected = _data(bench).plain.merge(trips.zones(), on=_BY, how="left")
    columns = [_BY, "surcharge", "zone"]
    _check_same(result.tail(1_000)[columns], expected.tail(1_000)[columns])
    _check_number(result["surcharge"].sum(), expected["surcharge"].sum())


@case("modin", ("modin_sort_values", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_sort_values(bench: Bench) -> None:
    """Sort all columns by one number."""
    import numpy as np

    frame = _frame(bench)
    result = _timed(bench, lambda: frame.sort_values("total"))
    found = result["total"].to_numpy()
    np.testing.assert_array_equal(found, np.sort(_data(bench).plain["total"].to_numpy()))
    _check_number(result["fare"].sum(), _data(bench).plain["fare"].sum())


@case("modin", ("modin_describe", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_describe(bench: Bench) -> None:
    """Count, mean, deviation, quartiles of all columns."""
    frame = _frame(bench)
    result = _timed(bench, frame.describe)
    columns = ["fare", "tip", "total"]
    expected = _data(bench).plain[columns].describe()
    # Where times are described as well, the deviation comes last.
    _check_same(result[columns].astype(float), expected.loc[[*expected.index.drop("std"), "std"]])


@case("modin", ("modin_elementwise", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_elementwise(bench: Bench) -> None:
    """Arithmetic on a few columns."""
    frame = _frame(bench)
    columns = ["fare", "tip", "total"]
    result = _timed(bench, lambda: frame[columns] * 1.1 + 1)
    expected = _data(bench).plain[columns] * 1.1 + 1
    _check_same(result.tail(1_000), expected.tail(1_000))
    _check_number(result["fare"].sum(), expected["fare"].sum())


@case("modin", ("modin_to_csv", Unit.SECONDS), needs=[Feature.FRAMES], timeout=600)
def modin_to_csv(bench: Bench) -> None:
    """Write everything to one CSV file, in order."""
    import numpy as np
    import pyarrow.csv as pa_csv

    frame, data = _frame(bench), _data(bench)
    path = data.csv.with_name("written.csv")
    _timed(bench, lambda: frame.to_csv(path, index=False))
    written = pa_csv.read_csv(path)["total"].to_numpy()
    path.unlink()
    np.testing.assert_allclose(written, data.plain["total"])


@case("modin", ("modin_apply_axis1", Unit.SECONDS), needs=[Feature.FRAMES], timeout=600)
def modin_apply_axis1(bench: Bench) -> None:
    """A function of Python for each row, of a tenth of the trips."""
    import numpy as np

    frames, data = bench.engine.frames(), _data(bench)
    rows = data.trips.rows // 10
    first = next(data.trips.blocks()).to_pandas()
    copies = -(-rows // len(first))
    # Not a slice of the frame: that would lie in one partition.
    frame = _finished(frames.concat([frames.DataFrame(first)] * copies) if copies > 1 else None)
    if frame is None:
        frame = _finished(frames.DataFrame(first.head(rows)))
    result = _timed(bench, lambda: frame.apply(income, axis=1))
    found = np.asarray(result)[: len(first)]
    expected = np.where(first["distance"] > 1, first["fare"] + first["tip"], 0)
    np.testing.assert_allclose(found, expected[: len(found)])


@case("modin", ("modin_sum", Unit.SECONDS), needs=[Feature.FRAMES])
def modin_sum(bench: Bench) -> None:
    """No work: the times of all the others together, if there are all."""
    seconds = bench.shared.get("seconds", {})
    summed = [
        name for name, known in CASES.items() if known.group == "modin" and name != "modin_sum"
    ]
    if all(name in seconds for name in summed):
        bench.record("modin_sum", sum(seconds[name] for name in summed))


def _timed(bench: Bench, action: Callable[[], Any]) -> Any:
    """Time an operation up to the last partition of its result; return the result."""
    walls: list[float] = []
    result = None
    while len(walls) < _RUNS and sum(walls) < _ENOUGH:
        result = None  # two of them may be too much
        with bench.timed() as timing:
            result = _finished(action())
        walls.append(timing.wall)
    bench.shared.setdefault("seconds", {})[bench.case_name] = median(walls)
    return result


def _finished(value: Any) -> Any:
    # Not at the top: groups without frames are measured without pandas.
    from ..frames import finish

    return finish(value)


def _data(bench: Bench) -> _Data:
    """Return the files; the first case to ask for them makes them."""
    if "data" not in bench.shared:
        bench.shared["data"] = _made(bench)
    data: _Data = bench.shared["data"]
    return data


def _made(bench: Bench) -> _Data:
    import pandas as pd

    from ..trips import Trips

    trips = Trips.of_csv(bench.scaled(_CSV_BYTES))
    directory = tempfile.TemporaryDirectory()
    csv, parquet = Path(directory.name, "trips.csv"), Path(directory.name, "trips.parquet")
    trips.write_csv(csv)
    trips.write_parquet(parquet)
    # Every worker has run something of Modin before anything is timed.
    frames = bench.engine.frames()
    warm = frames.DataFrame({"a": range(1_000)})
    for _ in range(3):
        _finished(warm.groupby("a").sum())
        _finished((warm + 1).sort_values("a"))
    return _Data(trips, csv, parquet, pd.read_parquet(parquet, columns=_PLAIN), directory)


def _frame(bench: Bench) -> Any:
    """Return all trips as a frame, in memory."""
    if "frame" not in bench.shared:
        read = bench.engine.frames().read_parquet
        bench.shared["frame"] = _finished(read(_data(bench).parquet))
    return bench.shared["frame"]


def _check_read(frame: Any, data: _Data) -> None:
    if frame.shape != (data.trips.rows, 18):
        raise AssertionError(f"{data.trips.rows} trips of 18 columns became {frame.shape}")
    kinds = "".join(dtype.kind for dtype in frame.dtypes)
    if kinds != "iMMifiOiiiffffffff":
        raise AssertionError(f"the columns became {kinds}")
    _check_number(frame["total"].sum(), data.plain["total"].sum())


def _check_number(found: float, expected: float) -> None:
    if abs(found - expected) > 1e-9 * abs(expected):
        raise AssertionError(f"{found} should be {expected}")


def _check_same(found: Any, expected: pd.DataFrame) -> None:
    import pandas as pd

    from ..frames import to_pandas

    pd.testing.assert_frame_equal(to_pandas(found), expected, check_index_type=False)
