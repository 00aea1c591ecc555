"""The frame whose partitions are on the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modin.core.dataframe.base.dataframe.utils import Axis
from modin.core.dataframe.pandas.dataframe.dataframe import PandasDataframe

from .back_references import weaken_dtypes, weaken_labels
from .engine_wrapper import MillpondWrapper
from .partition_manager import PandasOnMillpondDataframePartitionManager
from .pickling import travels_by_engine
from .registration import ENGINE


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
