"""What a frame knows about itself without keeping itself alive.

Modin computes labels and dtypes of a frame when they are asked for, and gives the frame objects
that do so and hold the frame: reference cycles. Such a frame, with all its blocks, would stay in
the object store until Python's cyclic collector runs, which does not know how large it is. So
those objects are made to refer to their frame weakly.
"""

# ruff: noqa: SLF001 - it is about attributes that Modin keeps private

from __future__ import annotations

import weakref
from typing import Any, Literal

from modin.core.dataframe.pandas.metadata import DtypesDescriptor


def weaken_labels(labels: Any, frame: Any, axis: Literal[0, 1]) -> None:
    """Let ``labels``, a ``ModinIndex`` that belongs to ``frame``, refer to it weakly."""
    # The flag says that the labels are, or were, computed from the frame that they belong to.
    if labels._is_default_callable and callable(labels._value):
        labels._value = _Labels(_Weakly(frame), axis)


def weaken_dtypes(dtypes: Any, frame: Any) -> None:
    """Let ``dtypes``, the ``ModinDtypes`` of ``frame`` or None, refer to it weakly."""
    descriptor = getattr(dtypes, "_value", None)
    if isinstance(descriptor, DtypesDescriptor) and descriptor._parent_df is frame:
        descriptor._parent_df = _Weakly(frame)


class _Weakly:
    """Stands for a frame as long as that lives; a pickle of it holds the frame itself."""

    __slots__ = ("_ref",)

    def __init__(self, frame: Any) -> None:
        self._ref = weakref.ref(frame)

    def _frame(self) -> Any:
        frame = self._ref()
        if frame is None:
            raise ReferenceError("labels or dtypes of a Modin frame were kept longer than it")
        return frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frame(), name)

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return _itself, (self._frame(),)


class _Labels:
    """Computes the labels of a frame along one axis, and the lengths of its partitions."""

    __slots__ = ("_axis", "_frame")

    def __init__(self, frame: Any, axis: Literal[0, 1]) -> None:
        self._frame = frame
        self._axis = axis

    def __call__(self) -> Any:
        return self._frame._compute_axis_labels_and_lengths(self._axis)


def _itself(frame: Any) -> Any:
    return frame
