"""`ObjectRef`: the user's handle of an object that may not exist yet.

There is one ref instance per object and process, so Python's own reference count *is* the
local count: when the instance dies, the process holds the object no more. Not covered: what
happens then (``objects``, ``releaser``).
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..serialization.values import collect_pickled_ref, collect_unpickled_ref
from .current import current_runtime

if TYPE_CHECKING:
    from .objects import Entry

__all__ = ["ObjectRef"]

T = TypeVar("T")


class ObjectRef(Generic[T]):
    """Names an object owned by this or another process.

    Equality and hash are identity: a process never has two refs of one object. A ref keeps its
    object alive, can be passed to tasks and actors, and cannot be pickled elsewhere.
    """

    __slots__ = ("__weakref__", "_entry")

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    @property
    def id(self) -> bytes:
        """The object's id, 16 bytes."""
        return self._entry.id

    def hex(self) -> str:
        """Return the object's id as 32 hexadecimal digits."""
        return self._entry.id.hex()

    def __repr__(self) -> str:
        return f"ObjectRef({self.hex()})"

    def __copy__(self) -> ObjectRef[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        collect_pickled_ref(self)
        return _rebuild, (self._entry.id,)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "millpond.ObjectRef", self.hex()

    def future(self) -> Future[T]:
        """Return a `concurrent.futures.Future` of the value.

        Cancelling the future does not cancel the task; use `millpond.cancel` for that.
        """
        return current_runtime(self).access.future(self)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # takes 40 ms, and few programs await refs

        return asyncio.wrap_future(self.future()).__await__()


def _rebuild(object_id: bytes) -> ObjectRef[Any]:
    ref = current_runtime().ref(object_id)
    collect_unpickled_ref(ref)
    return ref
