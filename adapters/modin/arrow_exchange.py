"""Modin frames as Arrow tables and back, converted by the workers side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from modin.config import MinColumnPartitionSize, MinRowPartitionSize, NPartitions
from modin.core.storage_formats.pandas.utils import compute_chunksize

import millpond

from . import session, sizing
from .block_partition import PandasOnMillpondDataframePartition
from .dataframe import PandasOnMillpondDataframe
from .engine_wrapper import MillpondWrapper
from .exchange import as_modin, rows_of
from .file_sizes import frame_bytes_of_fields
from .labels import joined


def to_arrow(frame: Any, *, preserve_index: bool | None = None) -> pa.Table:
    """Return a Modin frame as an Arrow table, whose memory is that of the store.

    The workers convert the rows of Modin's partitions, each a chunk of the table. It is not copied
    into this process: the chunks are kept in the store as long as a table or array uses them.

    Args:
        frame: A Modin frame or series on millpond.
        preserve_index: As in ``pyarrow.Table.from_pandas``: whether row labels become columns;
            None for all but a range, which is noted in the schema.

    Raises:
        TypeError: It is something else, or on another engine.
        pyarrow.ArrowInvalid: A column holds what is of no one type of Arrow.
    """
    rows = rows_of(frame.to_frame() if getattr(frame, "ndim", 2) == 1 else frame)
    labels = _range([blocks[0].rows for blocks in rows]) if preserve_index is None else None
    keep = labels is None if preserve_index is None else preserve_index
    tables = MillpondWrapper.materialize(
        [
            MillpondWrapper.deploy(
                _table_of,
                ([block.ref for block in blocks], [block.labels for block in blocks], keep),
            )
            for blocks in rows
        ]
    )
    # Chunks may differ in type: of a column with values here and none there, for instance.
    table = pa.concat_tables(tables, promote_options="permissive")
    return table if labels is None else _with_range(table, labels)


def from_arrow(table: pa.Table) -> Any:
    """Return an Arrow table as a Modin frame, equal to that which ``table.to_pandas()`` makes.

    The rows are put into the store part by part, and converted by the workers.

    Args:
        table: An Arrow table.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(table, pa.Table):
        raise TypeError(f"from_arrow takes a pyarrow.Table, not {type(table)}")
    return as_modin(frame_of_table(table))


def frame_of_table(table: pa.Table) -> PandasOnMillpondDataframe:
    """Return the partitioned frame of an Arrow table."""
    session.ensure_started()
    sizing.expect(frame_bytes_of_fields(table.schema, table.num_rows))
    length = compute_chunksize(table.num_rows, NPartitions.get(), MinRowPartitionSize.get())
    partition = PandasOnMillpondDataframePartition
    parts = _columns_of_blocks(table)
    blocks = [
        [
            partition(millpond.put(_stream_of(part.slice(start, length)))).apply(_frame_of)
            for part in parts
        ]
        for start in range(0, table.num_rows, length)
    ]
    if not blocks:
        blocks = [[partition.put(table.to_pandas())]]
    labels = _labels_of(table)
    frame = PandasOnMillpondDataframe(np.array(blocks), labels)
    if labels is not None:
        frame.synchronize_labels(axis=0)
    return frame


def _columns_of_blocks(table: pa.Table) -> list[pa.Table]:
    """Return the columns of each column of blocks, those that become row labels in all of them."""
    names = set(_label_columns(table))
    labels = [at for at, name in enumerate(table.column_names) if name in names]
    values = [at for at, name in enumerate(table.column_names) if name not in names]
    width = compute_chunksize(len(values), NPartitions.get(), MinColumnPartitionSize.get())
    if width >= len(values):
        return [table]
    return [
        table.select([*values[start : start + width], *labels])
        for start in range(0, len(values), width)
    ]


def _table_of(
    blocks: Sequence[pd.DataFrame], labels: Sequence[Mapping[str, pd.Index[Any]]], keep: bool
) -> pa.Table:
    # One thread: the other CPUs have tasks of their own.
    frame = pd.DataFrame(joined(blocks, labels), copy=False)
    return pa.Table.from_pandas(frame, preserve_index=keep, nthreads=1)


def _range(labels: Sequence[pd.Index[Any] | None]) -> pd.RangeIndex | None:
    """Return the labels of all rows, if they are known to be a range."""
    ranges = [each for each in labels if isinstance(each, pd.RangeIndex)]
    if len(ranges) < len(labels):
        return None
    whole = ranges[0].append(ranges[1:])
    return whole if isinstance(whole, pd.RangeIndex) else None


def _with_range(table: pa.Table, labels: pd.RangeIndex) -> pa.Table:
    """Return a table that says which range its row labels are, as pandas and Arrow write it."""
    metadata = dict(table.schema.metadata or {})
    described = json.loads(metadata[b"pandas"])
    described["index_columns"] = [
        {
            "kind": "range",
            "name": labels.name,
            "start": labels.start,
            "stop": labels.stop,
            "step": labels.step,
        }
    ]
    return table.replace_schema_metadata({**metadata, b"pandas": json.dumps(described).encode()})


def _labels_of(table: pa.Table) -> pd.RangeIndex | None:
    """Return the labels of the rows that ``to_pandas`` gives; None if they are columns."""
    if _label_columns(table):
        return None
    for each in _described_labels(table):
        if not isinstance(each, dict):
            continue
        labels = pd.RangeIndex(each["start"], each["stop"], each["step"], name=each["name"])
        if len(labels) == table.num_rows:
            return labels
    return pd.RangeIndex(table.num_rows)


def _label_columns(table: pa.Table) -> list[str]:
    """Return the names of the columns that ``to_pandas`` makes row labels."""
    described = _described_labels(table)
    return [each for each in described if isinstance(each, str) and each in table.column_names]


def _described_labels(table: pa.Table) -> list[Any]:
    """Return what a table says of its row labels: names of columns, or descriptions of ranges."""
    described: list[Any] = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return described


def _stream_of(rows: pa.Table) -> pa.Buffer:
    """Return rows in Arrow's stream format; to pickle a slice would take the whole table along."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows)
    return stream.getvalue()


def _frame_of(stream: pa.Buffer) -> pd.DataFrame:
    frame: pd.DataFrame = pa.ipc.open_stream(stream).read_all().to_pandas(use_threads=False)
    return frame
