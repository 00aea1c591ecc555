"""New labels for partitions, without copies of their data.

Modin renames rows and columns by a call that it queues on every block. Where the labels are short,
as those of a frame that was just read, such a call is so cheap that it is run by every task that
reads the block, and the block is never rewritten for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .outlines import Outline

#: Up to this many labels are sent along with every task.
_FEW = 256


def set_labels(
    frame: pd.DataFrame | pd.Series[Any],
    idx: pd.Index[Any] | None = None,
    cols: pd.Index[Any] | None = None,
) -> pd.DataFrame:
    """Return ``frame`` with other labels over the same data.

    Args:
        frame: A block of a frame, or a series, which becomes one.
        idx: Labels of its rows; None leaves them.
        cols: Labels of its columns; None leaves them.
    """
    labelled = frame.to_frame() if isinstance(frame, pd.Series) else frame.copy(deep=False)
    if idx is not None:
        labelled.index = idx
    if cols is not None:
        labelled.columns = cols
    return labelled


def joined(
    blocks: Sequence[pd.DataFrame | pd.Series[Any]],
    labels: Sequence[Mapping[str, pd.Index[Any]]],
    name: tuple[Hashable] | None = None,
) -> pd.DataFrame | pd.Series[Any]:
    """Return the blocks of a row as one frame over the same data.

    Args:
        blocks: The blocks, from left to right.
        labels: For each of them what `set_labels` is to give it; nothing if it has its labels.
        name: The name of a series, to return that; None for a frame.
    """
    frames = [
        set_labels(block, **given) if given or isinstance(block, pd.Series) else block
        for block, given in zip(blocks, labels, strict=True)
    ]
    frame = frames[0]
    if len(frames) > 1:
        frame = pd.concat(frames, axis=1, copy=False)  # type: ignore[call-overload]  # of pandas 3
    if name is None:
        return frame
    series = frame.iloc[:, 0]
    series.name = name[0]
    return series


def cut(labels: pd.Index[Any], lengths: Sequence[int]) -> list[pd.Index[Any]]:
    """Return ``labels`` cut into parts of these ``lengths``."""
    parts = []
    start = 0
    for length in lengths:
        parts.append(labels[start : start + length])
        start += length
    return parts


def runs_of(positions: Iterable[int], widths: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Return which columns of which blocks make up a choice of columns, in its order.

    Args:
        positions: The columns.
        widths: How many columns the blocks have.
    """
    starts = np.cumsum([0, *widths])
    runs: list[tuple[int, list[int]]] = []
    for position in positions:
        block = int(np.searchsorted(starts, position, side="right")) - 1
        if not runs or runs[-1][0] != block:
            runs.append((block, []))
        runs[-1][1].append(int(position - starts[block]))
    return runs


def choose_columns(frame: pd.DataFrame, positions: list[int]) -> pd.DataFrame:
    """Return the columns at these positions, in this order."""
    return frame.iloc[:, positions]


def is_free(function: Any, labels: Mapping[str, Any]) -> bool:
    """Tell whether a queued call costs next to nothing, however often it is run."""
    return function is set_labels and all(
        each is None or isinstance(each, pd.RangeIndex) or len(each) <= _FEW
        for each in labels.values()
    )


def relabelled(outline: Outline, labels: Mapping[str, Any]) -> Outline:
    """Return ``outline`` as it is after `set_labels`."""
    index, columns = labels.get("idx"), labels.get("cols")
    return outline._replace(
        rows=outline.rows if index is None else index,
        columns=outline.columns if columns is None else columns,
        row_names=outline.row_names if index is None else tuple(index.names),
    )
