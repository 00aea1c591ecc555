"""Modin's reader of Parquet files, without what it writes anew after it has read.

Where there are fewer row groups than Modin wants partitions, it reads them by columns as well, and
then cuts and joins what came: two more tasks for each block. Of data larger than the store all is
written to disk and read back twice for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modin.config import CpuCount, MinColumnPartitionSize, NPartitions
from modin.core.io import ParquetDispatcher
from modin.core.storage_formats.pandas.utils import compute_chunksize

from . import sizing

#: So many times as large as planned may blocks be, where smaller ones would have to be written
#: anew. The plan has room for that: it takes sizes for rather too large, and three blocks a task.
_AS_LARGE = 2


class OnceWrittenParquetDispatcher(ParquetDispatcher):  # type: ignore[misc]  # not annotated
    """Leaves blocks as they were read, where these are many and small enough."""

    @classmethod
    def build_columns(
        cls, columns: Sequence[str], num_row_parts: int | None = None
    ) -> tuple[list[Sequence[str]], list[int]]:
        """Return the columns of each block, and their numbers.

        Args:
            columns: All of them.
            num_row_parts: Into how many parts the rows are cut.
        """
        if num_row_parts is None or num_row_parts < CpuCount.get() or not columns:
            found: tuple[list[Sequence[str]], list[int]] = super().build_columns(
                columns, num_row_parts
            )
            return found
        width = compute_chunksize(len(columns), NPartitions.get(), MinColumnPartitionSize.get())
        parts = [columns[start : start + width] for start in range(0, len(columns), width)]
        return parts, list(map(len, parts))

    @classmethod
    def _normalize_partitioning(
        cls, remote_parts: Any, row_lengths: Sequence[int] | None, column_widths: Sequence[int]
    ) -> tuple[Any, Sequence[int] | None, Sequence[int]]:
        enough = (
            sizing.partitions_by_user() is None
            and len(remote_parts) >= CpuCount.get()
            and len(remote_parts) * _AS_LARGE >= NPartitions.get()
        )
        parts, lengths, widths = super()._normalize_partitioning(
            remote_parts, None if enough else row_lengths, column_widths
        )
        return parts, row_lengths if enough else lengths, widths
