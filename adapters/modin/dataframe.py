"""The frame whose partitions are on the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from modin.core.dataframe.base.dataframe.utils import Axis
from modin.core.dataframe.pandas.dataframe.dataframe import PandasDataframe
from pandas.core.dtypes.cast import (  # type: ignore[attr-defined]  # not in the stubs
    find_common_type,
)

from .back_references import weaken_dtypes, weaken_labels
from .block_partition import PandasOnMillpondDataframePartition
from .engine_wrapper import MillpondWrapper
from .labels import choose_columns, cut, runs_of, set_labels
from .partition_manager import PandasOnMillpondDataframePartitionManager
from .pickling import travels_by_engine
from .registration import ENGINE

#: For so many times as many columns of blocks as before, it is better to write them anew.
_MOST_RUNS = 2


class PandasOnMillpondDataframe(
    PandasDataframe  # type: ignore[misc]  # Modin is not annotated
):
    """Modin's frame, on our partitions."""

    _partition_mgr_cls = PandasOnMillpondDataframePartitionManager

    def set_index_cache(self, index: Any) -> None:
        """Keep the labels of the rows, or how to compute them."""
        super().set_index_cache(index)
        weaken_labels(self._index_cache, self, 0)

    def set_columns_cache(self, columns: Any) -> None:
        """Keep the labels of the columns, or how to compute them."""
        super().set_columns_cache(columns)
        weaken_labels(self._columns_cache, self, 1)

    def set_dtypes_cache(self, dtypes: Any) -> None:
        """Keep the dtypes, or how to compute them."""
        super().set_dtypes_cache(dtypes)
        weaken_dtypes(self._dtypes, self)

    def _propagate_index_objs(self, axis: Literal[0, 1] | None = None) -> None:
        """Let the labels of this frame be those of its blocks too, lazily."""
        self._filter_empties(compute_metadata=False)
        rows = None if axis == 1 else cut(self.index, self.row_lengths)
        columns = None if axis == 0 else cut(self.columns, self.column_widths)
        lengths, widths = self._row_lengths_cache, self._column_widths_cache
        self._partitions: Any = np.array(
            [
                [
                    block.add_to_apply_calls(
                        set_labels,
                        idx=rows and rows[i],
                        cols=columns and columns[j],
                        length=lengths and lengths[i],
                        width=widths and widths[j],
                    )
                    for j, block in enumerate(blocks)
                ]
                for i, blocks in enumerate(self._partitions)
            ]
        )
        if rows is not None:
            self._deferred_index = False
        if columns is not None:
            self._deferred_column = False

    def names_of_rows(self) -> list[Any] | None:
        """Return the names of the row labels, if they can be told without the labels."""
        if self.has_materialized_index:
            return list(self.index.names)
        outlines = self._partition_mgr_cls.outlines(self._partitions[:, :1])
        names = {each and each.row_names for each in outlines.flat}
        found = names.pop() if len(names) == 1 else None
        return None if found is None else list(found)

    def _reorder_labels(
        self, row_positions: Any = None, col_positions: Sequence[int] | None = None
    ) -> PandasOnMillpondDataframe:
        """Return the frame with rows and columns in another order.

        Columns are chosen from each block when that is read. Modin would join all blocks of a row
        and write all of them anew.
        """
        runs: list[tuple[int, list[int]]] = []
        if row_positions is None and col_positions is not None:
            runs = runs_of(col_positions, self.column_widths)
        if not 0 < len(runs) <= _MOST_RUNS * self._partitions.shape[1]:
            reordered: PandasOnMillpondDataframe = super()._reorder_labels(
                row_positions, col_positions
            )
            return reordered
        result = type(self)(
            np.array(
                [[_chosen(row[at], wanted) for at, wanted in runs] for row in self._partitions]
            ),
            self.copy_index_cache(copy_lengths=True),
            self.columns[col_positions],
            self._row_lengths_cache,
            [len(wanted) for _, wanted in runs],
            self.dtypes.iloc[col_positions] if self.has_materialized_dtypes else None,
            pandas_backend=self._pandas_backend,
        )
        for axis, put_off in ((0, self._deferred_index), (1, self._deferred_column)):
            if put_off:
                result.synchronize_labels(axis)
        return result

    def _compute_dtypes(self, columns: Sequence[Any] | None = None) -> pd.Series[Any]:
        """Return the dtypes of the chosen columns, out of the outlines where they tell."""
        known = self._known_dtypes()
        positions = None if columns is None else sorted(self.columns.get_indexer_for(columns))
        if known is None or (positions and positions[0] < 0):
            dtypes: pd.Series[Any] = super()._compute_dtypes(columns)
            return dtypes
        return known if positions is None else known.iloc[positions]

    def _known_dtypes(self) -> pd.Series[Any] | None:
        """Return the dtypes of all columns, if the outlines of all blocks have theirs."""
        outlines = self._partition_mgr_cls.outlines(self._partitions)
        if not outlines.size or any(each is None or each.dtypes is None for each in outlines.flat):
            return None
        dtypes = [
            dtypes[0] if len(set(dtypes)) == 1 else find_common_type(list(dtypes))
            for column in outlines.T
            for dtypes in zip(*(each.dtypes for each in column), strict=True)
        ]
        return pd.Series(dtypes, index=self.columns, dtype=object)

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas frame, with the types of its columns even if it has no rows."""
        if not self.has_materialized_dtypes and not any(self.row_lengths):
            _ = self.dtypes  # Modin forgets those that it did not know before
        frame: pd.DataFrame = super().to_pandas()
        return frame

    @classmethod
    def from_arrow(cls, at: pa.Table) -> PandasOnMillpondDataframe:
        """Make a frame of an Arrow table; its rows are converted by the workers."""
        # Here because it imports this module.
        from .arrow_exchange import frame_of_table

        return frame_of_table(at)

    @property
    def engine(self) -> str:
        """Name of the engine, as `modin.config.Engine` has it."""
        return ENGINE

    @classmethod
    def _get_lengths(cls, parts: Sequence[Any], axis: Axis) -> list[int]:
        """Return the extents of ``parts`` along ``axis``, fetched in one go."""
        if axis == Axis.ROW_WISE:
            extents = [part.length(materialize=False) for part in parts]
        else:
            extents = [part.width(materialize=False) for part in parts]
        lengths: list[int] = MillpondWrapper.materialize(extents)
        return lengths

    def support_materialization_in_worker_process(self) -> bool:
        """Tell Modin whether the pickle that is being made may hold refs instead of the data."""
        first = self._partitions.flat[0].list_of_blocks if self._partitions.size else []
        return travels_by_engine(first)


def _chosen(partition: Any, positions: list[int]) -> Any:
    """Return a partition of some columns of another, in this order, lazily."""
    if isinstance(partition, PandasOnMillpondDataframePartition):
        return partition.mask(slice(None), positions)
    # Several blocks that are yet to be joined, for which Modin would do so first.
    return partition.add_to_apply_calls(choose_columns, positions, width=len(positions))
