"""Whether an answer is the one that DuckDB gives, and where it is not."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .duck import Duck

#: Sums of float64 depend on their order in the last digits; all else is compared exactly.
RELATIVE_TOLERANCE = 1e-9


def difference(answer: pd.DataFrame, expected: pd.DataFrame) -> str | None:
    """Return the first difference in words, or None when both hold the same rows in one order."""
    if list(answer.columns) != list(expected.columns):
        return f"columns {list(answer.columns)}, expected {list(expected.columns)}"
    if len(answer) != len(expected):
        return f"{len(answer)} rows, expected {len(expected)}"
    for name in expected.columns:
        got, want = answer[name].to_numpy(), expected[name].to_numpy()
        same = _same(got, want)
        if not same.all():
            row = int(np.argmin(same))
            return f"column {name}, row {row}: {got[row]!r}, expected {want[row]!r}"
    return None


def _same(got: npt.NDArray[Any], want: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if want.dtype.kind == "f":
        close = np.isclose(got.astype(np.float64), want, rtol=RELATIVE_TOLERANCE, atol=0.0)
        return np.asarray(close)
    if want.dtype.kind == "M":
        return np.asarray(got.astype("datetime64[ms]") == want.astype("datetime64[ms]"))
    return np.asarray(got == want)


def sort_difference(key: str, summary: pd.DataFrame, duck: Duck) -> str | None:
    """Return what is wrong with a sort that `checksum.summarise` described, or None.

    The ranges must be in order without and within, must not overlap, must hold what DuckDB finds in
    them, and together all rows.
    """
    if not summary["ordered"].all():
        return f"range {int(np.argmin(summary['ordered']))} is not in order"
    if (summary["low"].to_numpy()[1:] <= summary["high"].to_numpy()[:-1]).any():
        return "ranges overlap or are not in order"
    rows, expected_rows = int(summary["rows"].sum()), duck.count()
    if rows != expected_rows:
        return f"{rows} rows, expected {expected_rows}"
    return difference(
        summary[["rows", "checksum", "quantity"]].reset_index(drop=True), duck.ranges(key, summary)
    )
