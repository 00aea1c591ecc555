"""Functions on their way to the workers: pickled once, unpickled once per worker.

Modin sends the same few functions with every task. They are ordinary arguments to the engine, so
they are wrapped here: the wrapper carries pickled bytes and turns into the function itself where
it is unpickled, looked up by those bytes. A function that captured much data goes to the object
store instead and travels as a ref.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cloudpickle
from modin.utils import try_cast_to_pandas

import millpond

from .casting import quick_cast

#: A pickled function (with the data that it captured) above this many bytes is put in the store.
INLINE_LIMIT = 32 * 1024

#: How many unpickled functions a worker keeps.
_LOADED_FUNCTIONS = 512


class ShippedFunction:
    """A pickled function that arrives as the function itself.

    Args:
        payload: The pickled function.
        buffers: The array data that it captured, if any.
    """

    __slots__ = ("buffers", "payload")

    def __init__(
        self, payload: bytes, buffers: tuple[pickle.PickleBuffer | bytearray, ...] = ()
    ) -> None:
        self.payload = payload
        self.buffers = buffers

    def load(self) -> Callable[..., Any]:
        """Return the function, unpickled."""
        return _load(self.payload, *self.buffers) if self.buffers else _load_once(self.payload)

    def __reduce__(self) -> tuple[Callable[..., Callable[..., Any]], tuple[Any, ...]]:
        if self.buffers:
            return _load, (self.payload, *self.buffers)
        return _load_once, (self.payload,)


def ship(function: Callable[..., Any]) -> ShippedFunction | millpond.ObjectRef[Any]:
    """Return what to send to workers in place of ``function``, as it is now.

    Raises:
        millpond.errors.SerializationError: It is, or captured, something that cannot be pickled.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        payload = _dumps(function, buffers)
    except (pickle.PicklingError, TypeError):
        # A captured ref can only be pickled by the engine, which keeps count of it. Of anything
        # else the engine says what it is and where.
        return millpond.put(function)
    if len(payload) + sum(buffer.raw().nbytes for buffer in buffers) > INLINE_LIMIT:
        return millpond.put(ShippedFunction(payload, tuple(buffers)))
    return ShippedFunction(payload, tuple(bytearray(buffer.raw()) for buffer in buffers))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # not annotated
    """Pickles functions, with our way to cast what they return in place of Modin's."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle ``obj``."""
        return (quick_cast, ()) if obj is try_cast_to_pandas else super().reducer_override(obj)


def _dumps(function: Callable[..., Any], buffers: list[pickle.PickleBuffer]) -> bytes:
    """Return ``function``, pickled, and append its array data to ``buffers``."""
    with io.BytesIO() as file:
        _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(function)
        return file.getvalue()


def _load(payload: bytes, *buffers: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = pickle.loads(payload, buffers=buffers)
    return function


@lru_cache(maxsize=_LOADED_FUNCTIONS)
def _load_once(payload: bytes) -> Callable[..., Any]:
    return _load(payload)
