"""`Future`: a task's result in millpond's object store, there already or still being computed.

The graph of a persisted collection holds futures in place of its values, and a `Client` returns
them. Wherever Dask's own functions take a future of its distributed scheduler (arguments of
tasks, ``from_delayed``, ``delayed``) they take these. Not covered: waiting for several
(``waiting``).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any

from dask.typing import Key
from dask.utils import parse_timedelta

import millpond
from millpond.errors import GetTimeoutError, TaskCancelledError

from .copies import private_copy

__all__ = ["Future", "future_of_value", "ref_in", "seconds"]

#: results whose futures were cancelled: like in Dask, that counts even when they are there
_cancelled: weakref.WeakSet[millpond.ObjectRef[Any]] = weakref.WeakSet()


class Future:
    """The result of a task, computed or being computed, in millpond's object store.

    The result is kept while a future of it (or a computation that uses it) lives.

    Attributes:
        key: of the task in Dask's graphs.
        ref: the object; ``millpond.get(future.ref)`` reads it without a copy.
    """

    __slots__ = ("__weakref__", "key", "ref")

    def __init__(self, key: Key, ref: millpond.ObjectRef[Any]) -> None:
        self.key = key
        self.ref = ref

    @property
    def status(self) -> str:
        """One of ``"pending"``, ``"finished"``, ``"error"``, ``"cancelled"``."""
        if self.ref in _cancelled:
            return "cancelled"
        if not self.done():
            return "pending"
        error = self._error(0)
        if error is None:
            return "finished"
        return "cancelled" if isinstance(error, CancelledError) else "error"

    def result(self, timeout: float | str | None = None) -> Any:
        """Wait for the value and return it, as an object of the caller's own.

        Args:
            timeout: seconds to wait at most, as a number or as Dask writes them ("10 s");
                None for ever.

        Raises:
            millpond.errors.GetTimeoutError: it is not there in time.
            concurrent.futures.CancelledError: it was cancelled.
            Exception: the task failed; this is its error.
        """
        self._check_not_cancelled()
        try:
            return private_copy(millpond.get(self.ref, timeout=seconds(timeout)))
        except TaskCancelledError as error:
            raise CancelledError(str(error)) from None

    def exception(self, timeout: float | str | None = None) -> BaseException | None:
        """Wait for the task and return its error, or None when it has a result.

        Raises:
            millpond.errors.GetTimeoutError: it has not ended in time.
            concurrent.futures.CancelledError: it was cancelled.
        """
        self._check_not_cancelled()
        error = self._error(seconds(timeout))
        if isinstance(error, CancelledError):
            raise error
        return error

    def traceback(self, timeout: float | str | None = None) -> TracebackType | None:
        """Wait for the task and return the traceback of its error here, or None.

        The frames of the worker are text: the ``__cause__`` of `exception`.
        """
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def done(self) -> bool:
        """Whether the task has ended, be it with an error or by being cancelled."""
        if self.ref in _cancelled:
            return True
        ready, _ = millpond.wait([self.ref], timeout=0)
        return bool(ready)

    def cancelled(self) -> bool:
        """Whether the task was cancelled, or one whose result it needs."""
        return self.status == "cancelled"

    def cancel(
        self, reason: str | None = None, msg: str | None = None, force: bool = False
    ) -> None:
        """Cancel the task, for all futures of this result, and those that need its result.

        Args:
            reason: accepted for Dask's sake.
            msg: likewise.
            force: kill the worker where interrupting it does not help.
        """
        _cancelled.add(self.ref)
        millpond.cancel(self.ref, force=force)

    def add_done_callback(self, fn: Callable[[Future], Any]) -> None:
        """Call ``fn(future)`` when the task has ended, on a thread of the engine's."""
        self.ref.future().add_done_callback(lambda _: fn(self))

    def release(self) -> None:
        """Do nothing: the result goes when its last future does."""

    def _check_not_cancelled(self) -> None:
        if self.ref in _cancelled:
            raise CancelledError(f"{self!r} was cancelled")

    def _error(self, timeout: float | None) -> BaseException | None:
        try:
            millpond.get(self.ref, timeout=timeout)
        except GetTimeoutError:
            raise
        except TaskCancelledError as error:
            return CancelledError(str(error))
        except BaseException as error:  # noqa: BLE001 - whatever the task raised is the answer
            return error
        return None

    def __await__(self) -> Generator[Any, None, Any]:
        self._check_not_cancelled()
        try:
            value = yield from self.ref.__await__()
        except TaskCancelledError as error:
            raise CancelledError(str(error)) from None
        return private_copy(value)

    def __repr__(self) -> str:
        return f"Future({self.key!r}, {self.ref!r})"

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "millpond.Future", self.ref.hex()

    def __reduce__(self) -> tuple[Any, ...]:
        return Future, (self.key, self.ref)


def future_of_value(key: Key, value: object) -> Future:
    """Return a finished future of a value, which is put into the store."""
    ref = ref_in(value)
    return Future(key, millpond.put(value) if ref is None else ref)


def ref_in(value: object) -> millpond.ObjectRef[Any] | None:
    """Return the ref that stands for a value in a graph, or None if it is the value itself."""
    if isinstance(value, Future):
        return value.ref
    return value if isinstance(value, millpond.ObjectRef) else None


def seconds(timeout: float | str | None) -> float | None:
    """Return a time as Dask's users write it ("10 s", 10, None) in seconds."""
    return None if timeout is None else float(parse_timedelta(timeout, default="s"))
