"""Values of one's own: copies whose memory belongs to the process, writable and unshared.

What comes out of the object store is a read-only view of it, and keeps its bytes from being
evicted. A result handed to the user, or an input that a task wants to write into, must be
neither.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from collections.abc import Sequence
from typing import Any

import cloudpickle

__all__ = ["is_plain", "private_copy"]

#: instances cannot hold a view of anything
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def private_copy(value: Any) -> Any:
    """Return ``value``, or an equal one where it views read-only memory.

    Arrays that are writable stay the same objects: they are private already.
    """
    if is_plain(value):
        return value
    copied, made = _copy_view(value)
    if made is not None:
        return copied
    stream = io.BytesIO()
    pickler = _ViewPickler(stream)
    pickler.dump(value)
    if not pickler.copies:
        return value
    outer, _loading.views = _loading.views, pickler.views
    try:
        return pickle.loads(stream.getbuffer())
    finally:
        _loading.views = outer


def is_plain(value: Any) -> bool:
    """Whether a value, or a container with all its items, is of a type that cannot hold a view."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind in (list, tuple, set, frozenset):
        return _PLAIN.issuperset(map(type, value))
    if kind is dict:
        return _PLAIN.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values()))
    return False


def _copy_view(value: Any) -> tuple[Any, bool | None]:
    """Return an array or buffer that owns its memory, and whether that is a copy.

    The second is None for what is neither array nor buffer.
    """
    # A library that is not imported has no instances.
    numpy, arrow = sys.modules.get("numpy"), sys.modules.get("pyarrow")
    if numpy is not None and isinstance(value, numpy.ndarray):
        if value.dtype.hasobject:
            return value, None  # its elements may be views
        return (value, False) if value.flags.writeable else (value.copy(order="K"), True)
    if arrow is not None and isinstance(value, arrow.Buffer):
        # Whose memory it is, Arrow does not say: always a copy.
        return arrow.py_buffer(value.to_pybytes()), True
    return value, None


class _ViewPickler(cloudpickle.Pickler):  # type: ignore[misc]  # not annotated
    """Pickles a value around its arrays and buffers, which it copies instead."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        #: in the order of the pickle
        self.views: list[Any] = []
        self.copies = 0

    def reducer_override(self, obj: Any) -> Any:
        """Take arrays and buffers out of the pickle."""
        copied, made = _copy_view(obj)
        if made is None:
            return super().reducer_override(obj)
        self.views.append(copied)
        self.copies += made
        return _taken_out, (len(self.views) - 1,)


class _Loading(threading.local):
    views: Sequence[Any] = ()


_loading = _Loading()


def _taken_out(index: int) -> Any:
    return _loading.views[index]
