"""The operations on all blocks of a frame that are better done for all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from modin.core.dataframe.pandas.partitioning.partition_manager import (
    PandasDataframePartitionManager,
)

from . import session, sizing
from .axis_partition import (
    PandasOnMillpondDataframeColumnPartition,
    PandasOnMillpondDataframeRowPartition,
)
from .block_partition import PandasOnMillpondDataframePartition
from .engine_wrapper import MillpondWrapper


class PandasOnMillpondDataframePartitionManager(
    PandasDataframePartitionManager  # type: ignore[misc]  # Modin is not annotated
):
    """Blocks of one frame, as a two-dimensional array of partitions."""

    _partition_class = PandasOnMillpondDataframePartition
    _column_partitions_class = PandasOnMillpondDataframeColumnPartition
    _row_partition_class = PandasOnMillpondDataframeRowPartition
    _execution_wrapper = MillpondWrapper

    @classmethod
    def materialize_futures(cls, input_list: list[Any] | None) -> list[Any] | None:
        """Return the values of futures, and other items as they are."""
        if input_list is None:
            return None
        values: list[Any] = MillpondWrapper.materialize(input_list)
        return values

    @classmethod
    def wait_partitions(cls, partitions: Any) -> None:
        """Wait for all of ``partitions`` at once."""
        MillpondWrapper.wait(
            [block for partition in partitions for block in partition.list_of_blocks]
        )

    @classmethod
    def to_numpy(cls, partitions: Any, **kwargs: Any) -> Any:
        """Return one array of all blocks; they are converted in the workers, side by side."""
        arrays = MillpondWrapper.materialize(
            [block.apply(_to_numpy, **kwargs).list_of_blocks[0] for block in partitions.flat]
        )
        columns = partitions.shape[1]
        rows = [arrays[at : at + columns] for at in range(0, len(arrays), columns)]
        return np.block(rows)

    @classmethod
    def from_pandas(cls, df: pd.DataFrame, return_dims: bool = False) -> Any:
        """Cut a pandas frame into blocks and put them into the store."""
        session.ensure_started()
        sizing.expect(sizing.bytes_of(df))
        return super().from_pandas(df, return_dims)


def _to_numpy(df: pd.DataFrame, **kwargs: Any) -> Any:
    return df.to_numpy(**kwargs)
