"""Waiting for futures: `futures_of`, `wait`, `as_completed`, `progress`.

Dask's own functions of these names know the futures of its distributed scheduler only.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self, TextIO

from dask._task_spec import DataNode, Task
from dask.base import is_dask_collection
from dask.utils import ensure_dict, format_time

import millpond
from millpond.errors import GetTimeoutError

from .futures import Future, seconds

__all__ = ["DoneAndNotDone", "as_completed", "futures_of", "progress", "wait"]


def futures_of(*objects: Any) -> list[Future]:
    """Return the futures in persisted collections, lists, dictionaries, or among the arguments.

    Each result once, in the order of the first meeting. What holds no futures adds none.
    """
    found: dict[Any, Future] = {}
    stack = list(reversed(objects))
    while stack:
        item = stack.pop()
        if isinstance(item, Future):
            found.setdefault(item.ref, item)
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(reversed(list(item)))
        elif isinstance(item, Mapping):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, DataNode):
            stack.append(item.value)
        elif isinstance(item, Task):
            stack.extend(reversed([*item.args, *item.kwargs.values()]))
        elif is_dask_collection(item):
            stack.append(ensure_dict(item.__dask_graph__()))
    return list(found.values())


class DoneAndNotDone(NamedTuple):
    """What `wait` found."""

    done: set[Future]
    not_done: set[Future]


def wait(
    fs: Any, timeout: float | str | None = None, return_when: str = "ALL_COMPLETED"
) -> DoneAndNotDone:
    """Wait until futures have ended, be it with an error.

    Args:
        fs: a future, a persisted collection, or a list of them.
        timeout: seconds to wait at most; None for ever.
        return_when: ``"ALL_COMPLETED"`` or ``"FIRST_COMPLETED"``.

    Raises:
        millpond.errors.GetTimeoutError: they have not ended in time.
        ValueError: ``return_when`` is neither.
    """
    if return_when not in ("ALL_COMPLETED", "FIRST_COMPLETED"):
        raise ValueError(
            f"return_when must be 'ALL_COMPLETED' or 'FIRST_COMPLETED', it is {return_when!r}"
        )
    futures = futures_of(fs)
    pending = {future.ref: future for future in futures if not future.done()}
    needed = len(pending) if return_when == "ALL_COMPLETED" else int(len(pending) == len(futures))
    if pending and needed:
        limit = seconds(timeout)
        ready, _ = millpond.wait(list(pending), num_returns=needed, timeout=limit)
        if len(ready) < needed:
            raise GetTimeoutError(
                f"{len(pending) - len(ready)} of {len(futures)} futures were not done "
                f"after {limit} s"
            )
    done = {future for future in futures if future.done()}
    return DoneAndNotDone(done, set(futures) - done)


class as_completed:  # noqa: N801 - the name that Dask's users know
    """Iterates over futures in the order in which they end.

    Args:
        futures: futures, or persisted collections.
        with_results: give pairs of future and result.
        raise_errors: with results, raise the error of a task; else give the error as the result.
        timeout: seconds for the whole iteration; None for ever.
    """

    def __init__(
        self,
        futures: Iterable[Any] | Any = (),
        *,
        with_results: bool = False,
        raise_errors: bool = True,
        timeout: float | str | None = None,
    ) -> None:
        limit = seconds(timeout)
        self._deadline = None if limit is None else time.monotonic() + limit
        self._with_results = with_results
        self._raise_errors = raise_errors
        self._pending: dict[Any, list[Future]] = {}
        self._ready: deque[Future] = deque()
        self.update(futures)

    def add(self, future: Future) -> None:
        """Wait for one more."""
        self._pending.setdefault(future.ref, []).append(future)

    def update(self, futures: Iterable[Any] | Any) -> None:
        """Wait for more."""
        if not (isinstance(futures, Future | Mapping) or is_dask_collection(futures)):
            futures = list(futures)
        for future in futures_of(futures):
            self.add(future)

    def count(self) -> int:
        """Return how many have not been given out."""
        return len(self._ready) + sum(map(len, self._pending.values()))

    def is_empty(self) -> bool:
        """Whether all have been given out."""
        return not self.count()

    def has_ready(self) -> bool:
        """Whether the next one is there already."""
        self._collect()
        return bool(self._ready)

    def next_batch(self, block: bool = True) -> list[Any]:
        """Return all that have ended; with ``block``, at least one unless all were given out."""
        if block and not self._ready and self._pending:
            self._wait()
        self._collect()
        batch = [self._item(future) for future in self._ready]
        self._ready.clear()
        return batch

    def batches(self) -> Iterator[list[Any]]:
        """Yield lists of what has ended, as it ends."""
        while not self.is_empty():
            yield self.next_batch()

    def clear(self) -> None:
        """Wait for none of them any more."""
        self._pending.clear()
        self._ready.clear()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._ready:
            if not self._pending:
                raise StopIteration
            self._wait()
            self._collect()
        return self._item(self._ready.popleft())

    def _wait(self) -> None:
        limit = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        if not any(future[0].done() for future in self._pending.values()):
            ready, _ = millpond.wait(list(self._pending), num_returns=1, timeout=limit)
            if not ready:
                raise GetTimeoutError(f"{self.count()} futures were not done in time")

    def _collect(self) -> None:
        for ref in [ref for ref, futures in self._pending.items() if futures[0].done()]:
            self._ready.extend(self._pending.pop(ref))

    def _item(self, future: Future) -> Any:
        if not self._with_results:
            return future
        if self._raise_errors:
            return future, future.result()
        try:
            return future, future.result()
        except BaseException as error:  # noqa: BLE001 - the caller wants errors as results
            return future, error


#: seconds between two pictures of a progress bar
_REDRAW = 0.1
_BAR = 40


def progress(*futures: Any, out: TextIO | None = None, **_ignored: Any) -> None:
    """Show a bar in the terminal until all futures (or persisted collections) have ended.

    Args:
        *futures: what to wait for.
        out: where to draw; standard output when None.
        **_ignored: settings of the function in dask.distributed.
    """
    out = sys.stdout if out is None else out
    all_futures = futures_of(*futures)
    pending = {future.ref: future for future in all_futures}
    started = time.perf_counter()
    while True:
        for ref in [ref for ref, future in pending.items() if future.done()]:
            del pending[ref]
        share = 1 - len(pending) / max(1, len(all_futures))
        bar = "#" * int(share * _BAR)
        elapsed = format_time(time.perf_counter() - started)
        out.write(f"\r[{bar:<{_BAR}}] | {share:4.0%} Completed | {elapsed}")
        out.flush()
        if not pending:
            break
        millpond.wait(list(pending), num_returns=len(pending), timeout=_REDRAW)
    out.write("\n")
    out.flush()
