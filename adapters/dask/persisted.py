"""What the graph of a persisted collection holds in place of its values."""

from __future__ import annotations

from typing import Any

from dask.typing import Key

import millpond

__all__ = ["Persisted", "ref_in"]


class Persisted:
    """The result of a task, computed or being computed, in millpond's object store.

    The result is kept while this object lives. Looks like a future where Dask's own functions
    (``from_delayed``, the test helpers) take futures.
    """

    __slots__ = ("key", "ref")

    def __init__(self, key: Key, ref: millpond.ObjectRef[Any]) -> None:
        #: the key of the task in Dask's graphs
        self.key = key
        #: the object
        self.ref = ref

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value and return it: a read-only view of the store where it is large.

        Args:
            timeout: seconds to wait at most; None for ever.

        Raises:
            millpond.errors.GetTimeoutError: it is not there in time.
            Exception: the task failed; this is its error.
        """
        return millpond.get(self.ref, timeout=timeout)

    def __repr__(self) -> str:
        return f"Persisted({self.key!r}, {self.ref!r})"

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "millpond.Persisted", self.ref.hex()

    def __reduce__(self) -> tuple[Any, ...]:
        return Persisted, (self.key, self.ref)


def ref_in(value: object) -> millpond.ObjectRef[Any] | None:
    """Return the ref that stands for a value in a graph, or None if it is the value itself."""
    if isinstance(value, Persisted):
        return value.ref
    return value if isinstance(value, millpond.ObjectRef) else None
