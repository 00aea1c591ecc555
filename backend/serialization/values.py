"""Python values to bytes and back: cloudpickle, protocol 5, out-of-band buffers.

Refs inside a value are collected while it is pickled and while it is unpickled, so that the
owner runtime can keep what they name alive. Functions and classes of ``__main__`` travel by
value. Not covered: the byte layout (``layout``), exceptions (``exceptions``).
"""

from __future__ import annotations

import io
import pickle
import threading
from typing import Any

import cloudpickle

from ..errors import SerializationError
from .diagnose import describe_offender
from .layout import SerializedValue, split

#: bytes from which a copy of an array beats pickling it in band
_WORTH_COPYING = 4096

__all__ = ["collect_pickled_ref", "collect_unpickled_ref", "deserialize", "serialize"]

_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})


class _Collected(threading.local):
    """The refs met so far by the pickling or unpickling of this thread."""

    pickled: list[Any] | None = None
    unpickled: list[Any] | None = None


_collected = _Collected()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Pickles arrays that are not contiguous out of band too.

    numpy would copy them into the pickle, which would be copied into the store, and again by
    every reader. Slices of rows of a pandas frame are such arrays.
    """

    def reducer_override(self, obj: Any) -> Any:
        if type(obj).__name__ == "ndarray" and type(obj).__module__ == "numpy":
            flags = obj.flags
            contiguous = flags.c_contiguous or flags.f_contiguous
            if not contiguous and obj.nbytes >= _WORTH_COPYING and not obj.dtype.hasobject:
                return obj.copy(order="K").__reduce_ex__(5)
        return super().reducer_override(obj)


def collect_pickled_ref(ref: Any) -> None:
    """Note that ``ref`` is part of the value being pickled.

    Raises:
        SerializationError: somebody pickles a ref outside of the engine, which would leave it
            without an owner that knows of the copy.
    """
    if _collected.pickled is None:
        raise SerializationError(
            f"{ref!r} can only be pickled as part of an argument, a result, or a put value; "
            "to keep data beyond the session, get the value and save that"
        )
    _collected.pickled.append(ref)


def collect_unpickled_ref(ref: Any) -> None:
    """Note that ``ref`` came out of the value being unpickled."""
    if _collected.unpickled is not None:
        _collected.unpickled.append(ref)


def serialize(value: Any, what: str) -> SerializedValue:
    """Pickle ``value``.

    Args:
        value: any object that cloudpickle can pickle.
        what: names the value in the error, for example "the result of task f".

    Raises:
        SerializationError: it cannot be pickled; names the offender and the path to it.
    """
    if type(value) in _SCALARS:
        return SerializedValue(pickle.dumps(value, 5), (), ())
    buffers: list[memoryview] = []

    def keep_out_of_band(buffer: pickle.PickleBuffer) -> bool:
        buffers.append(buffer.raw())
        return False

    outer = _collected.pickled
    contained: list[Any] = []
    _collected.pickled = contained
    stream = io.BytesIO()
    try:
        _Pickler(stream, 5, buffer_callback=keep_out_of_band).dump(value)
    except SerializationError:
        raise
    except Exception as error:
        raise SerializationError(describe_offender(value, what, error)) from error
    finally:
        _collected.pickled = outer
    return SerializedValue(stream.getbuffer(), buffers, contained)


def deserialize(data: Any) -> tuple[Any, list[Any]]:
    """Return the value laid out in ``data`` and the refs inside it.

    Large buffers of the value are views of ``data``, which they keep alive; they are read-only
    when ``data`` is.
    """
    pickled, buffers = split(data)
    outer = _collected.unpickled
    refs: list[Any] = []
    _collected.unpickled = refs
    try:
        return pickle.loads(pickled, buffers=buffers), refs
    finally:
        _collected.unpickled = outer
