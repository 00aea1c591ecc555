"""Functions on their way to the workers: pickled once, unpickled once per worker.

Modin sends the same few functions with every task. They are ordinary arguments to the engine, so
they are wrapped here: the wrapper carries pickled bytes and turns into the function itself where
it is unpickled, looked up by those bytes. A function that captured much data goes to the object
store instead and travels as a ref.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cloudpickle

import millpond

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
        payload = cloudpickle.dumps(function, protocol=5, buffer_callback=buffers.append)
    except (pickle.PicklingError, TypeError):
        # A captured ref can only be pickled by the engine, which keeps count of it. Of anything
        # else the engine says what it is and where.
        return millpond.put(function)
    if len(payload) + sum(buffer.raw().nbytes for buffer in buffers) > INLINE_LIMIT:
        return millpond.put(ShippedFunction(payload, tuple(buffers)))
    return ShippedFunction(payload, tuple(bytearray(buffer.raw()) for buffer in buffers))


def _load(payload: bytes, *buffers: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = pickle.loads(payload, buffers=buffers)
    return function


@lru_cache(maxsize=_LOADED_FUNCTIONS)
def _load_once(payload: bytes) -> Callable[..., Any]:
    return _load(payload)
