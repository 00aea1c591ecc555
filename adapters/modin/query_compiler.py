"""Operations for which there is a better plan than Modin's, the same for all its engines."""

# ruff: noqa: SLF001 - Modin has no public way from a query compiler to its partitions

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal

import numpy as np
import pandas as pd
from modin.config import CpuCount, RangePartitioning
from modin.core.storage_formats.pandas.query_compiler import PandasQueryCompiler
from pandas.api.types import is_datetime64_any_dtype

from .binary_dtypes import SAMPLED, sampled_once
from .engine_wrapper import MillpondWrapper

#: Below this many rows one task is as quick as several.
_FEW_ROWS = 5_000


class PandasOnMillpondQueryCompiler(
    PandasQueryCompiler  # type: ignore[misc]  # Modin is not annotated
):
    """Modin's query compiler, with parallel plans for what it would run on one CPU."""

    def describe(self, percentiles: Any) -> PandasOnMillpondQueryCompiler:
        """Summarise each column; Modin gives up to 32 columns to one task."""
        frame = self._modin_frame
        columns = frame.columns
        if frame._partitions.shape[1] != 1 or not len(columns):
            alike: PandasOnMillpondQueryCompiler = super().describe(percentiles)
            return alike
        rows = _rows_of_description(tuple(dict.fromkeys(self.dtypes)), percentiles)
        frame._propagate_index_objs(None)
        taken = [block.taken(run_queue=False) for block in frame._partitions[:, 0]]
        tasks = CpuCount.get() * (1 if len(frame) < _FEW_ROWS else 2)
        groups = np.array_split(np.arange(len(columns)), min(len(columns), tasks))
        summaries = [
            MillpondWrapper.deploy(_described, (taken, group.tolist(), percentiles, rows))
            for group in groups
        ]
        widths = list(map(len, groups))
        blocks = [
            frame._partition_mgr_cls._partition_class(each, len(rows), width)
            for each, width in zip(summaries, widths, strict=True)
        ]
        return type(self)(type(frame)(np.array([blocks]), rows, columns, [len(rows)], widths))

    def corr(self, *, method: Any, **kwargs: Any) -> PandasOnMillpondQueryCompiler:
        """Correlate the columns with each other."""
        kind: Any = PandasOnMillpondQueryCompiler
        if method != "pearson" or self.get_pandas_backend() == "pyarrow":
            # Modin leaves these to what it takes for its own base class: that of a compiler's type.
            kind = PandasQueryCompiler
        result: PandasOnMillpondQueryCompiler = super(kind, self).corr(method=method, **kwargs)
        return result

    def get_index_names(self, axis: Literal[0, 1] = 0) -> Any:
        """Return the names of the labels, without fetching those of the rows if there is a way."""
        names = self._modin_frame.names_of_rows() if axis == 0 else None
        return super().get_index_names(axis) if names is None else names

    def _groupby_dict_reduce(
        self, by: Any, agg_func: Any, axis: Literal[0, 1], *args: Any, **kwargs: Any
    ) -> Any:
        """Reduce groups by a function for each column."""
        groups: Any = super(PandasOnMillpondQueryCompiler, self._for_groups(by, axis))
        return groups._groupby_dict_reduce(by, agg_func, axis, *args, **kwargs)

    def _for_groups(self, by: Any, axis: Literal[0, 1] | None) -> PandasOnMillpondQueryCompiler:
        """Return this with labels of rows that need not be fetched, if groups do without them.

        Modin asks for them to see whether there are rows. To get them, each block has to be read.
        """
        frame = self._modin_frame
        if (
            axis != 0
            or not isinstance(by, PandasQueryCompiler)
            or RangePartitioning.get()
            or frame.has_materialized_index
            or not len(frame)
        ):
            return self
        alike = frame.copy()
        alike.set_index_cache(pd.RangeIndex(len(frame)))
        return type(self)(alike, self._shape_hint)

    def apply(self, func: Any, axis: int, *args: Any, **kwargs: Any) -> Any:
        """Apply a function along an axis; rows that lie in few blocks are spread over all CPUs."""
        if axis == 1 and callable(func):
            spread = type(self)(_spread(self._modin_frame))
            return super(PandasOnMillpondQueryCompiler, spread).apply(func, axis, *args, **kwargs)
        return super().apply(func, axis, *args, **kwargs)


def _unlabelled(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reduction of groups, block by block, that does without the labels of the rows."""

    @wraps(method)
    def reduce(self: PandasOnMillpondQueryCompiler, by: Any, *args: Any, **kwargs: Any) -> Any:
        # Modin leaves some means of dates to pandas, which needs the labels.
        if method.__name__ == "groupby_mean" and any(map(is_datetime64_any_dtype, self.dtypes)):
            return method(self, by, *args, **kwargs)
        return method(self._for_groups(by, kwargs.get("axis")), by, *args, **kwargs)

    return reduce


#: Those of Modin's reductions that it makes of two functions.
for _name in ("all", "any", "count", "max", "mean", "min", "prod", "skew", "sum"):
    _method = getattr(PandasQueryCompiler, f"groupby_{_name}")
    setattr(PandasOnMillpondQueryCompiler, f"groupby_{_name}", _unlabelled(_method))

for _name in SAMPLED:
    setattr(PandasOnMillpondQueryCompiler, _name, sampled_once(_name))


def _spread(frame: Any) -> Any:
    """Return ``frame`` with its rows in at least as many blocks as there are CPUs, lazily."""
    cpus = CpuCount.get()
    partitions = frame._partitions
    if not partitions.size or len(partitions) >= cpus or len(frame) < _FEW_ROWS:
        return frame
    if frame._deferred_index or frame._deferred_column:
        frame._propagate_index_objs(None)
        partitions = frame._partitions
    most = -(-len(frame) // cpus)
    rows, lengths = [], []
    for blocks, length in zip(partitions, frame.row_lengths, strict=True):
        for start in range(0, length, most):
            piece = slice(start, min(length, start + most))
            rows.append([block.mask(piece, slice(None)) for block in blocks])
            lengths.append(piece.stop - piece.start)
    return type(frame)(
        np.array(rows),
        frame.copy_index_cache(),
        frame.copy_columns_cache(copy_lengths=True),
        lengths,
        frame._column_widths_cache,
        frame.copy_dtypes_cache(),
    )


def _rows_of_description(dtypes: Sequence[Any], percentiles: Any) -> pd.Index[Any]:
    """Return the labels of what pandas says of columns of these types, each given once."""
    empty = pd.DataFrame({at: pd.Series(dtype=dtype) for at, dtype in enumerate(dtypes)})
    return empty.describe(percentiles, include="all").index


def _described(
    blocks: Sequence[pd.DataFrame], positions: list[int], percentiles: Any, rows: pd.Index[Any]
) -> pd.DataFrame:
    chosen = pd.concat([block.iloc[:, positions] for block in blocks])
    return chosen.describe(percentiles=percentiles, include="all").reindex(rows)
