"""What is known of a partition without looking into it.

Every task that makes partitions returns their outlines as one more small result, which the engine
carries inline in the message that the task is done. So lengths, short labels and dtypes cost
neither a task nor a look at the data, which may be on disk by then.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import pandas as pd

import millpond

#: Labels and dtypes are part of an outline up to this many of them.
_SHORT = 64


class Outline(NamedTuple):
    """The shape of one partition, and its labels and dtypes as far as they are short."""

    length: int
    width: int
    #: Labels of the rows; None if they are many, unless they are a range.
    rows: pd.Index[Any] | None = None
    #: Labels of the columns; None if they are many.
    columns: pd.Index[Any] | None = None
    #: One for each column; None if they are many.
    dtypes: tuple[Any, ...] | None = None
    #: Names of the levels of the row labels, which are known even if those are many.
    row_names: tuple[Hashable, ...] = (None,)

    def of_columns(self, positions: list[int]) -> Outline:
        """Return the outline of the columns at these positions."""
        return self._replace(
            width=len(positions),
            columns=None if self.columns is None else self.columns[positions],
            dtypes=None if self.dtypes is None else tuple(self.dtypes[at] for at in positions),
        )

    def labels(self, axis: int) -> pd.Index[Any] | None:
        """Return the labels along ``axis``, if they are known."""
        return self.columns if axis else self.rows


def outline_of(value: Any) -> Outline:
    """Return the outline of a partition's value; 0 for an extent that it does not have."""
    if not isinstance(value, pd.DataFrame):
        rows = len(value) if hasattr(value, "__len__") else 0
        return Outline(rows, len(getattr(value, "columns", ())))
    rows, width = value.shape
    index = value.index
    short = index if rows <= _SHORT or isinstance(index, pd.RangeIndex) else None
    names = tuple(index.names)
    if width > _SHORT:
        return Outline(rows, width, short, row_names=names)
    dtypes = tuple(value.dtypes)
    known = None if any(map(_is_long, dtypes)) else dtypes
    return Outline(rows, width, short, value.columns, known, names)


def _is_long(dtype: Any) -> bool:
    return isinstance(dtype, pd.CategoricalDtype) and len(dtype.categories) > _SHORT


#: Where an outline is: among those of all results of one task, or at hand.
Source = tuple[millpond.ObjectRef[Any], int] | Outline

#: Data of a partition -> its outline.
_sources: WeakKeyDictionary[millpond.ObjectRef[Any], Source] = WeakKeyDictionary()


def remember(data: Iterable[millpond.ObjectRef[Any]], outlines: millpond.ObjectRef[Any]) -> None:
    """Note that one task made ``data``, and ``outlines`` of them in the same order."""
    for position, ref in enumerate(data):
        _sources[ref] = outlines, position


def note(data: millpond.ObjectRef[Any], outline: Outline) -> None:
    """Note the outline of data that was put into the store here."""
    _sources[data] = outline


def source_of(data: millpond.ObjectRef[Any]) -> Source | None:
    """Return where the outline of a partition is; None if its origin is unknown."""
    return _sources.get(data)


def known_outlines(data: Iterable[millpond.ObjectRef[Any]]) -> list[Outline | None]:
    """Return the outlines of partitions, once they are made; None for those of unknown origin.

    Raises:
        Exception: What a task that made one of them raised.
    """
    sources = [_sources.get(ref) for ref in data]
    refs = [each[0] for each in sources if each is not None and not isinstance(each, Outline)]
    refs = list(dict.fromkeys(refs))
    values = dict(zip(refs, millpond.get(refs), strict=True)) if refs else {}
    return [
        each if each is None or isinstance(each, Outline) else values[each[0]][each[1]]
        for each in sources
    ]
