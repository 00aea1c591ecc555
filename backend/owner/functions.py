"""Functions and classes by the hash of their pickle: shipped once, fetched when first met.

An owner keeps what it submitted; a worker asks the owner for a function it does not know yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..serialization.values import deserialize, serialize

__all__ = ["ExportedFunctions", "LoadedFunctions", "describe_callable"]

_HASH_BYTES = 16


def describe_callable(function: Any) -> str:
    """Return the name by which errors and logs call a function or class."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name)


class ExportedFunctions:
    """What this process has submitted. Thread-safe."""

    def __init__(self) -> None:
        #: the pickle, and the refs inside it, which live as long as this process exports it
        self._blobs: dict[bytes, tuple[bytes, Sequence[Any]]] = {}
        self._ids: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def export(self, function: Any) -> bytes:
        """Return the id of ``function``, pickling it the first time.

        Raises:
            SerializationError: it cannot be pickled.
        """
        try:
            known = self._ids.get(function)
        except TypeError:  # not hashable or not weakly referable
            known = None
        if known is not None:
            return known
        value = serialize(function, f"function {describe_callable(function)}")
        blob = value.to_bytes()
        function_id = hashlib.blake2b(blob, digest_size=_HASH_BYTES).digest()
        with self._lock:
            self._blobs.setdefault(function_id, (blob, value.contained))
            with contextlib.suppress(TypeError):
                self._ids[function] = function_id
        return function_id

    def publish(self, object_id: bytes, blob: bytes, contained: Sequence[Any]) -> None:
        """Give out a pickle, and keep the refs inside it, under an id that the caller made."""
        self._blobs.setdefault(object_id, (blob, contained))

    def blob(self, function_id: bytes) -> bytes | None:
        """Return the pickle of an exported function, or of what was published under this id."""
        exported = self._blobs.get(function_id)
        return None if exported is None else exported[0]


class LoadedFunctions:
    """What this process has run. Used by one thread at a time per function.

    Args:
        fetch: asks the owner of a task for the pickle of a function.
    """

    def __init__(self, fetch: Callable[[bytes, bytes], bytes]) -> None:
        self._fetch = fetch
        self._functions: dict[bytes, Any] = {}
        #: pickles that came unasked
        self._brought: dict[bytes, bytes] = {}

    def bring(self, function_id: bytes, pickled: bytes) -> None:
        """Take the pickle of a function that is about to be loaded. From any thread."""
        self._brought[function_id] = pickled

    def load(self, function_id: bytes, owner: bytes) -> Any:
        """Return the function, asking ``owner`` for it when it is not known yet."""
        try:
            return self._functions[function_id]
        except KeyError:
            pickled = self._brought.pop(function_id, None) or self._fetch(function_id, owner)
            function, _ = deserialize(pickled)
            self._functions[function_id] = function
            return function
