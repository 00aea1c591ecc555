"""Frames as refs, and refs as frames: what `to_refs`, `from_refs` and Modin's own functions share.

The blocks of a frame are objects in the store, but the labels of the frame may be others than
theirs: Modin gives out new labels late. Here is decided which blocks need any. A block that has its
labels is handed on as it is, and so it is never copied.
"""

# ruff: noqa: SLF001 - Modin has no public way from a frame to its partitions

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from modin.utils import MODIN_UNNAMED_SERIES_LABEL

import millpond

from . import session
from .block_partition import NODE_IP, PandasOnMillpondDataframePartition
from .dataframe import PandasOnMillpondDataframe
from .engine_wrapper import MillpondWrapper
from .labels import cut, joined
from .outlines import Outline


class Block(NamedTuple):
    """A stored block of a frame, and the labels that its readers give it."""

    ref: millpond.ObjectRef[Any]
    #: What `labels.set_labels` takes; nothing if the block has its labels.
    labels: dict[str, pd.Index[Any]]
    #: The labels of the rows, if they are short or a range.
    rows: pd.Index[Any] | None = None


def to_refs(frame: Any) -> list[millpond.ObjectRef[Any]]:
    """Return the rows of a Modin frame as refs to pandas frames; of a series, to pandas series.

    There is one for each row of Modin's partitions, in order. A partition of the frame that is one
    block with the labels of the frame (as all are in frames of up to 32 columns, unless rows or
    columns were renamed) is not copied: its ref is that of the block itself. For blocks and
    columns see Modin's ``unwrap_partitions``.

    Args:
        frame: A Modin frame or series on millpond.

    Raises:
        TypeError: It is something else, or on another engine.
    """
    name = name_of(frame)
    return [_as_one(blocks, name) for blocks in rows_of(frame)]


def from_refs(refs: Sequence[millpond.ObjectRef[Any]]) -> Any:
    """Return a Modin frame of the rows of pandas frames, which are not copied.

    Args:
        refs: Refs to pandas frames with the same columns: results of tasks, or of `millpond.put`.
            The tasks may still run.

    Raises:
        ValueError: There are no refs.
        TypeError: One of them is no ref.
    """
    if not refs:
        raise ValueError("from_refs needs a ref at least: a frame of no refs has no columns")
    return as_modin(frame_of([[Block(ref, {})] for ref in refs]))


def is_ours(frame: Any) -> bool:
    """Tell whether a Modin frame or series has its partitions on millpond."""
    query_compiler = getattr(frame, "_query_compiler", None)
    inner = getattr(query_compiler, "_modin_frame", None)
    return isinstance(inner, PandasOnMillpondDataframe)


def rows_of(frame: Any) -> list[list[Block]]:
    """Return the blocks of a Modin frame or series, row by row.

    Raises:
        TypeError: It is something else, or on another engine.
    """
    if not is_ours(frame):
        raise TypeError(
            f"this takes a Modin frame or series on millpond, not {type(frame)}; "
            f"move_to('Millpond') brings one there from another engine of Modin"
        )
    inner = frame._query_compiler._modin_frame
    inner._filter_empties(compute_metadata=False)
    if not inner._partitions.size:
        return [[Block(millpond.put(inner.to_pandas()), {}, inner.index)]]
    blocks = np.array([[_single(each) for each in row] for row in inner._partitions])
    # All queued calls run side by side, before the first is waited for.
    for block in blocks.flat:
        block.submitted()
    rows = cut(inner.index, inner.row_lengths) if inner.has_materialized_index else None
    columns = cut(inner.columns, inner.column_widths) if inner.has_materialized_columns else None
    return [
        [
            _labelled(
                blocks[i, j],
                outline,
                None if rows is None else (rows[i], inner._deferred_index),
                None if columns is None else (columns[j], inner._deferred_column),
            )
            for j, outline in enumerate(outlines)
        ]
        for i, outlines in enumerate(inner._partition_mgr_cls.outlines(blocks))
    ]


def name_of(frame: Any) -> tuple[Any] | None:
    """Return the name of a Modin series, as `labels.joined` takes it; None for a frame."""
    return (frame.name,) if getattr(frame, "ndim", 2) == 1 else None


def frame_of(rows: Sequence[Sequence[Block]]) -> PandasOnMillpondDataframe:
    """Return the partitioned frame that consists of these blocks."""
    session.ensure_started()
    wrap = PandasOnMillpondDataframePartition.wrap
    return PandasOnMillpondDataframe(
        np.array([[wrap(block.ref, block.labels) for block in row] for row in rows])
    )


def series_of(rows: Sequence[Sequence[Block]], name: Any) -> PandasOnMillpondDataframe:
    """Return the partitioned frame of a series from blocks that are frames or series."""
    label = pd.Index([MODIN_UNNAMED_SERIES_LABEL if name is None else name])
    return frame_of([[block._replace(labels={**block.labels, "cols": label})] for (block,) in rows])


def as_modin(inner: PandasOnMillpondDataframe, *, series: bool = False) -> Any:
    """Return what users know as a Modin frame or series."""
    import modin.pandas

    from .query_compiler import PandasOnMillpondQueryCompiler

    query_compiler = PandasOnMillpondQueryCompiler(inner, shape_hint="column" if series else None)
    kind = modin.pandas.Series if series else modin.pandas.DataFrame
    return kind(query_compiler=query_compiler)


def unwrap_blocks(frame: Any, *, get_ip: bool) -> list[list[Any]]:
    """Return the refs of all blocks of a Modin frame or series, row by row.

    Args:
        frame: One for which `is_ours` holds.
        get_ip: Whether to return pairs of node address and ref.
    """
    refs = [[_as_one([block]) for block in row] for row in rows_of(frame)]
    return [[(NODE_IP, ref) for ref in row] for row in refs] if get_ip else refs


def _single(partition: Any) -> PandasOnMillpondDataframePartition:
    if hasattr(partition, "force_materialization"):
        partition = partition.force_materialization().list_of_block_partitions[0]
    block: PandasOnMillpondDataframePartition = partition
    return block


def _labelled(
    block: PandasOnMillpondDataframePartition,
    outline: Outline | None,
    rows: tuple[pd.Index[Any], bool] | None,
    columns: tuple[pd.Index[Any], bool] | None,
) -> Block:
    """Return a block with the labels that it needs, those that are queued on it included.

    Args:
        block: The block, on which nothing is queued but labels.
        outline: What is known of it after its queue.
        rows: The labels that its rows have in the frame, and whether Modin has put off to give
            them; None if those of the block count.
        columns: The same of its columns.
    """
    labels: dict[str, pd.Index[Any]] = {}
    for _, _, queued in block.call_queue:
        labels |= {axis: given for axis, given in queued.items() if given is not None}
    found = outline and outline.rows
    if rows is not None:
        wanted, put_off = rows
        alike = outline is not None and outline.row_names == tuple(wanted.names)
        # Long labels are not part of an outline: there Modin's word counts, but for their names,
        # which a user may have changed in place.
        if not _is(found, wanted) and (found is not None or put_off or not alike):
            labels["idx"] = wanted
        found = wanted
    if columns is not None:
        wanted, put_off = columns
        known = outline and outline.columns
        if not _is(known, wanted) and (known is not None or put_off or outline is None):
            labels["cols"] = wanted
    return Block(block.stored, labels, found)


def _is(found: pd.Index[Any] | None, wanted: pd.Index[Any]) -> bool:
    return found is not None and found.identical(wanted)


def _as_one(blocks: Sequence[Block], name: tuple[Any] | None = None) -> millpond.ObjectRef[Any]:
    """Return one ref to the blocks of a row, joined."""
    if len(blocks) == 1 and not blocks[0].labels and name is None:
        return blocks[0].ref
    refs, labels = [block.ref for block in blocks], [block.labels for block in blocks]
    ref: millpond.ObjectRef[Any] = MillpondWrapper.deploy(joined, (refs, labels, name))
    return ref
