"""Dask collections that the benchmarks compute, and what must come out.

Every partition and chunk is made by a task, from its number alone, so that nothing but the engine
under test moves data. Workers import this module, so it imports libraries only when used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dask.array
    import dask.dataframe
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "Frame",
    "add",
    "check_product",
    "check_transpose_sum",
    "groups_of",
    "increment",
    "matrix",
    "order_of",
    "summarize",
    "tree",
    "tree_sum",
]

#: bytes of a row: four columns of eight
_ROW = 32
#: values of the column that is grouped by
_GROUPS = 1000
#: odd, so that multiplying by it permutes the numbers below a power of two
_MIX = 0x9E3779B97F4A7C15


def increment(number: int) -> int:
    """Return the next number."""
    return number + 1


def add(first: int, second: int) -> int:
    """Return the sum."""
    return first + second


def tree(leaves: int) -> Any:
    """Return the sum of ``leaves`` numbers, two at a time, as a delayed value."""
    import dask

    level = [dask.delayed(increment)(number) for number in range(leaves)]
    while len(level) > 1:
        pairs = [
            dask.delayed(add)(first, second)
            for first, second in zip(level[::2], level[1::2], strict=False)
        ]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def tree_sum(leaves: int) -> int:
    """Return what `tree` computes."""
    return leaves * (leaves + 1) // 2


def matrix(side: int, chunk: int) -> dask.array.Array:
    """Return a square of numbers from 0 to 1, made chunk by chunk."""
    import dask.array

    return dask.array.random.default_rng(7).random((side, side), chunks=(chunk, chunk))


def check_product(side: int, chunk: int, found: float) -> None:
    """Raise AssertionError unless ``found`` is the sum over the matrix times its transpose."""
    # The sum over all pairs of rows of their products is that of the squared column sums.
    columns = _column_sums(side, chunk)
    _check_close(found, float((columns * columns).sum()))


def check_transpose_sum(side: int, chunk: int, found: float) -> None:
    """Raise AssertionError unless ``found`` is the sum over the matrix plus its transpose."""
    _check_close(found, 2 * float(_column_sums(side, chunk).sum()))


def _column_sums(side: int, chunk: int) -> NDArray[np.float64]:
    """Return the sums of the matrix's columns, made one chunk at a time in this thread."""
    sums: NDArray[np.float64] = matrix(side, chunk).sum(axis=0).compute(scheduler="sync")
    return sums


def _check_close(found: float, expected: float) -> None:
    if abs(found - expected) > 1e-9 * abs(expected):
        raise AssertionError(f"the sum is {expected!r}, not {found!r}")


@dataclass(frozen=True, slots=True)
class Frame:
    """A dataframe of a given size: row number, permuted row number, group, and a value."""

    rows: int
    parts: int

    @classmethod
    def of_size(cls, parts: int, size: int) -> Frame:
        """Return a frame of about ``size`` bytes in ``parts`` partitions."""
        return cls(max(parts, size // _ROW), parts)

    def build(self) -> dask.dataframe.DataFrame:
        """Return it as a Dask dataframe."""
        import dask.dataframe

        bounds = [self.rows * part // self.parts for part in range(self.parts + 1)]
        spans = list(itertools.pairwise(bounds))
        return dask.dataframe.from_map(make_part, spans, meta=make_part((0, 1)))

    def group_sums(self) -> pd.DataFrame:
        """Return sum and count of the values of each group."""
        import numpy as np
        import pandas as pd

        groups = np.arange(self.rows, dtype=np.uint64)
        groups = _mixed(groups) % np.uint64(_GROUPS)
        sums = np.bincount(groups.astype(np.int64), _values(self.rows), _GROUPS)
        counts = np.bincount(groups.astype(np.int64), minlength=_GROUPS)
        table = pd.DataFrame({"count": counts, "sum": sums})
        return table[table["count"] > 0]

    def check_groups(self, found: pd.DataFrame) -> None:
        """Raise AssertionError unless ``found`` are the sums and counts by group."""
        import numpy as np

        found, expected = found.sort_index(), self.group_sums()
        _check(len(found) == len(expected), "the number of groups")
        _check((found["count"].to_numpy() == expected["count"].to_numpy()).all(), "counts")
        _check(np.allclose(found["sum"].to_numpy(), expected["sum"].to_numpy()), "sums")

    def check_shuffled(self, summaries: pd.DataFrame) -> None:
        """Raise AssertionError unless every group is in one partition, with all of its rows."""
        _check(not summaries.index.duplicated().any(), "a group in several partitions")
        self.check_groups(summaries)

    def check_sorted(self, summaries: pd.DataFrame) -> None:
        """Raise AssertionError unless the partitions are sorted, in order, and complete."""
        table = summaries[summaries["count"] > 0]
        _check(bool(table["sorted"].all()), "the order within a partition")
        first, last = table["first"].to_numpy(), table["last"].to_numpy()
        _check((last[:-1] <= first[1:]).all(), "the order of the partitions")
        _check(int(table["count"].sum()) == self.rows, "the number of rows")
        total = self.rows * (self.rows - 1) // 2
        _check(int(table["sum"].sum()) == total, "the sum of the row numbers")


def make_part(span: tuple[int, int]) -> pd.DataFrame:
    """Return the rows from the first number to before the second."""
    import numpy as np
    import pandas as pd

    rows = np.arange(*span, dtype=np.int64)
    mixed = _mixed(rows.astype(np.uint64))
    return pd.DataFrame(
        {
            "row": rows,
            "order": (mixed >> np.uint64(1)).astype(np.int64),
            "group": (mixed % np.uint64(_GROUPS)).astype(np.int64),
            "value": (rows % 1024).astype(np.float64),
        }
    )


def groups_of(part: pd.DataFrame) -> pd.DataFrame:
    """Return count and sum of the values of each group in a partition."""
    return part.groupby("group")["value"].agg(["count", "sum"])


def order_of(part: pd.DataFrame) -> pd.DataFrame:
    """Return what tells whether a partition is a part of a sorted frame."""
    import pandas as pd

    index = part.index
    return pd.DataFrame(
        {
            "first": [index[0] if len(index) else 0],
            "last": [index[-1] if len(index) else 0],
            "sorted": [index.is_monotonic_increasing],
            "count": [len(part)],
            "sum": [int(part["row"].sum())],
        }
    )


def summarize(
    frame: dask.dataframe.DataFrame, summary: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """Compute ``summary`` of each partition; return them below each other."""
    meta = summary(make_part((0, 1)))
    found: pd.DataFrame = frame.map_partitions(summary, meta=meta).compute()
    return found


def _mixed(rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers in no visible order, a different one for each row."""
    import numpy as np

    mixed: NDArray[np.uint64] = (rows * np.uint64(_MIX)) ^ (rows >> np.uint64(7))
    return mixed


def _values(rows: int) -> NDArray[np.float64]:
    import numpy as np

    return (np.arange(rows) % 1024).astype(np.float64)


def _check(right: object, what: str) -> None:
    if not right:
        raise AssertionError(f"wrong in the result: {what}")
