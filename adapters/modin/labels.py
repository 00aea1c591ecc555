"""New labels for partitions, without copies of their data.

Modin renames rows and columns by a call that it queues on every block. Where the labels are short,
as those of a frame that was just read, such a call is so cheap that it is run by every task that
reads the block, and the block is never rewritten for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .outlines import Outline

#: Up to this many labels are sent along with every task.
_FEW = 256


def set_labels(
    frame: pd.DataFrame, idx: pd.Index[Any] | None = None, cols: pd.Index[Any] | None = None
) -> pd.DataFrame:
    """Return ``frame`` with other labels over the same data.

    Args:
        frame: A block of a frame.
        idx: Labels of its rows; None leaves them.
        cols: Labels of its columns; None leaves them.
    """
    labelled = frame.copy(deep=False)
    if idx is not None:
        labelled.index = idx
    if cols is not None:
        labelled.columns = cols
    return labelled


def cut(labels: pd.Index[Any], lengths: Sequence[int]) -> list[pd.Index[Any]]:
    """Return ``labels`` cut into parts of these ``lengths``."""
    parts = []
    start = 0
    for length in lengths:
        parts.append(labels[start : start + length])
        start += length
    return parts


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
    )
