"""Functions on their way to the workers: pickled once, unpickled once per worker.

Modin sends the same few functions with every task. They are ordinary arguments to the engine, so
they are wrapped here: the wrapper carries pickled bytes and turns into the function itself where
it is unpickled, looked up by those bytes. A function that captured much data goes to the object
store instead and travels as a ref.

Most of these functions are closures that Modin made, new ones for each operation, over few pieces
of code. cloudpickle looks into all imported modules for each of them, which takes longer than to
run one on a small frame. Where the globals are those of a module of Modin, or of ours, the code is
prepared once, and the values that the function closes over are all that is pickled each time.
"""

from __future__ import annotations

import io
import marshal
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from types import CellType, CodeType, FunctionType
from typing import Any

import cloudpickle
from modin.utils import try_cast_to_pandas

import millpond

from .casting import quick_cast

#: A pickled function (with the data that it captured) above this many bytes is put in the store.
INLINE_LIMIT = 32 * 1024

#: How many unpickled functions, or pieces of code, a process keeps.
_LOADED_FUNCTIONS = 512

#: Packages that workers have too, so that functions need not bring their globals along.
_PACKAGES = frozenset(("millpond", "modin"))


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
        if obj is try_cast_to_pandas:
            return quick_cast, ()
        values = _closed_over(obj) if type(obj) is FunctionType else None
        if values is None:
            return super().reducer_override(obj)
        made = obj.__module__, _marshalled(obj.__code__), len(values)
        state = values, obj.__defaults__, obj.__kwdefaults__, obj.__dict__
        # The values come after the function, which may be one of them.
        return _function_of, made, state, None, None, _complete


def _closed_over(function: FunctionType) -> list[Any] | None:
    """Return the values of a closure that can be made of the globals of its module.

    None if it is another function: one that can be imported, or of another package, or with a
    variable that has no value yet, or one that casts, for which cloudpickle sends other globals.
    """
    module = function.__module__ or ""
    if (
        module.partition(".")[0] not in _PACKAGES
        or ("<locals>" not in function.__qualname__ and function.__name__ != "<lambda>")
        or function.__globals__ is not getattr(sys.modules.get(module), "__dict__", None)
        or _casts(function.__code__)
    ):
        return None
    try:
        return [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return None


@lru_cache(maxsize=_LOADED_FUNCTIONS)
def _casts(code: CodeType) -> bool:
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return try_cast_to_pandas.__name__ in code.co_names or any(map(_casts, inner))


@lru_cache(maxsize=_LOADED_FUNCTIONS)
def _marshalled(code: CodeType) -> bytes:
    return marshal.dumps(code)


@lru_cache(maxsize=_LOADED_FUNCTIONS)
def _code_of(marshalled: bytes) -> CodeType:
    code: CodeType = marshal.loads(marshalled)  # noqa: S302 - out of a pickle, as ours are
    return code


def _function_of(module: str, marshalled: bytes, closed_over: int) -> FunctionType:
    """Return a function of a module, without the values that it closes over."""
    cells = tuple(CellType() for _ in range(closed_over))
    return FunctionType(_code_of(marshalled), import_module(module).__dict__, closure=cells)


def _complete(function: FunctionType, state: tuple[Any, ...]) -> None:
    values, function.__defaults__, function.__kwdefaults__, attributes = state
    for cell, value in zip(function.__closure__ or (), values, strict=True):
        cell.cell_contents = value
    function.__dict__.update(attributes)


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
