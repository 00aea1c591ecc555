"""The operations on all blocks of a frame that are better done for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from modin.core.dataframe.pandas.partitioning.partition_manager import (
    PandasDataframePartitionManager,
    wait_computations_if_benchmark_mode,
)

from . import session, sizing
from .axis_partition import (
    PandasOnMillpondDataframeColumnPartition,
    PandasOnMillpondDataframeRowPartition,
)
from .block_partition import PandasOnMillpondDataframePartition
from .engine_wrapper import MillpondWrapper
from .outlines import known_outlines
from .progress import OPERATIONS, watched


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
    def outlines(cls, partitions: Any) -> Any:
        """Return an array with the outline of each partition, or None where there is no telling."""
        outlines = np.full(partitions.shape, None, dtype=object)
        blocks = [
            (at, each)
            for at, each in np.ndenumerate(partitions)
            if isinstance(each, PandasOnMillpondDataframePartition)
        ]
        found = known_outlines([block.stored for _, block in blocks])
        for (at, block), outline in zip(blocks, found, strict=True):
            outlines[at] = block.outlined(outline)
        return outlines

    @classmethod
    def get_indices(
        cls, axis: Literal[0, 1], partitions: Any, index_func: Callable[..., Any] | None = None
    ) -> tuple[Any, list[Any]]:
        """Return the labels along ``axis``, and those of each partition."""
        first = partitions[:, :1] if axis == 0 else partitions[:1]
        labels = None
        if index_func is None and first.size:
            labels = [each and each.labels(axis) for each in cls.outlines(first).flat]
        if labels is None or any(each is None for each in labels):
            found: tuple[Any, list[Any]] = super().get_indices(axis, partitions, index_func)
            return found
        # As Modin does: those of empty partitions count only if there are no others.
        filled = [each for each in labels if each is not None and len(each)]
        return (filled[0].append(filled[1:]) if filled else labels[0]), labels

    @classmethod
    @wait_computations_if_benchmark_mode  # type: ignore[untyped-decorator]
    def n_ary_operation(cls, left: Any, func: Callable[..., Any], right: Sequence[Any]) -> Any:
        """Combine blocks of frames, one with one; what waits on them is run by the same task."""
        func = cls.preprocess_func(func)
        return np.array(
            [
                [
                    block.apply(func, *(_taken(others[i][j]) for others in right))
                    for j, block in enumerate(row)
                ]
                for i, row in enumerate(left)
            ]
        )

    @classmethod
    @wait_computations_if_benchmark_mode  # type: ignore[untyped-decorator]
    def base_broadcast_apply(
        cls, axis: Literal[0, 1], apply_func: Callable[..., Any], left: Any, right: Any
    ) -> Any:
        """Apply a function to each block with the row, or column, of another frame beside it."""
        if axis == 1 or left.shape[1] != 1:
            # Others are read several times: what waits on them is better run once, before.
            return super().base_broadcast_apply(axis, apply_func, left, right)

        def apply_joined(block: Any, *others: Any) -> Any:
            return apply_func(block, pd.concat(others, axis=1) if len(others) > 1 else others[0])

        func = cls.preprocess_func(apply_joined)
        rows = [row.list_of_block_partitions for row in cls.row_partitions(right)]
        return np.array(
            [
                [block.apply(func, *map(_taken, others))]
                for (block,), others in zip(left, rows, strict=True)
            ]
        )

    @classmethod
    def wait_partitions(cls, partitions: Any) -> None:
        """Wait for all of ``partitions`` at once."""
        MillpondWrapper.wait([ref for partition in partitions for ref in partition.submitted()])

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


def _taken(partition: Any) -> Any:
    """Return what a task takes of a partition, running what waits on it unless others need it."""
    if hasattr(partition, "force_materialization"):
        (partition,) = partition.force_materialization().list_of_block_partitions
    return partition.taken(run_queue=True)


for _name in OPERATIONS:
    _operation = getattr(PandasOnMillpondDataframePartitionManager, _name).__func__
    setattr(PandasOnMillpondDataframePartitionManager, _name, classmethod(watched(_operation)))


def _to_numpy(df: pd.DataFrame, **kwargs: Any) -> Any:
    return df.to_numpy(**kwargs)
