"""`Client`: what users of dask.distributed's client expect, on this engine."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, Self

from dask._expr import FinalizeCompute
from dask.base import collections_to_expr, is_dask_collection, tokenize
from dask.core import flatten
from dask.typing import Key

import millpond
from millpond.errors import ConfigurationError, NotInitializedError, TaskCancelledError

from .calls import Calls, call_hints, check_callable
from .copies import private_copy
from .entry import get, persist
from .futures import Future, future_of_value
from .persistence import start
from .settings import Enabled, enable
from .waiting import futures_of, wait

__all__ = ["Client"]


class Client:
    """Runs functions and Dask collections on millpond, and returns futures.

    While it is open it is Dask's default scheduler. Futures may be arguments of `submit` and
    `map`, also inside lists and dictionaries, and parts of collections. As a context manager it
    closes at the end of the block.

    Args:
        asynchronous: must be False: a future can be awaited as it is.
        set_as_default: make millpond Dask's scheduler, as `millpond.dask.enable` does.
        n_workers: together with ``threads_per_worker``, another way to give ``num_cpus``.
        threads_per_worker: see there.
        **settings: of `millpond.init`.

    Raises:
        ConfigurationError: a setting is wrong, or other than those of the running session.
    """

    #: Dask asks for it; a client that was asynchronous could not compute collections
    asynchronous = False

    def __init__(
        self,
        *,
        asynchronous: bool = False,
        set_as_default: bool = True,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        **settings: Any,
    ) -> None:
        if asynchronous:
            raise ConfigurationError(
                "asynchronous=True is not supported: leave it out, futures can be awaited as they "
                "are"
            )
        if n_workers is not None or threads_per_worker is not None:
            if n_workers is None:
                raise ConfigurationError("threads_per_worker was given without n_workers")
            settings.setdefault("num_cpus", n_workers * (threads_per_worker or 1))
        self._starts_engine = not millpond.is_initialized()
        millpond.init(**settings)
        self._enabled: Enabled | None = None
        if set_as_default and not millpond.is_worker():
            self._enabled = enable()
        self._closed = False
        #: the results that some future holds, by key
        self._known: weakref.WeakValueDictionary[Key, millpond.ObjectRef[Any]] = (
            weakref.WeakValueDictionary()
        )

    # --- collections ---

    def get(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        """Compute keys of a graph and return their values; see `millpond.dask.get`."""
        self._check_open()
        return get(dsk, keys, **kwargs)

    def compute(
        self,
        collections: Any,
        *,
        sync: bool = False,
        optimize_graph: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Start computing collections; return the future of each one's value at once.

        Args:
            collections: a collection, or a list of them; other things in the list stay.
            sync: wait, and return the values instead of futures.
            optimize_graph: let Dask optimize before.
            **kwargs: ``priority``, ``retries``, ``resources``, ``memory``, as in `dask.annotate`.
        """
        self._check_open()
        if not isinstance(collections, list | tuple | set | frozenset):
            return self.compute([collections], sync=sync, optimize_graph=optimize_graph, **kwargs)[
                0
            ]
        given = list(collections)
        lazy = [item for item in given if is_dask_collection(item)]
        made: list[Future] = []
        if lazy:
            expr = FinalizeCompute(collections_to_expr(lazy, optimize_graph)).optimize()
            keys = list(flatten(expr.__dask_keys__()))
            found = start(expr, keys, **kwargs)
            made = [self._future(key, found[key]) for key in keys]
        futures = iter(made)
        results = [next(futures) if is_dask_collection(item) else item for item in given]
        return self.gather(results) if sync else results

    def persist(self, collections: Any, *, optimize_graph: bool = True, **kwargs: Any) -> Any:
        """Start computing collections and return them backed by futures.

        Args:
            collections: a collection, or a list of them.
            optimize_graph: let Dask optimize before.
            **kwargs: as for `compute`.
        """
        self._check_open()
        if isinstance(collections, list | tuple | set | frozenset):
            return persist(list(collections), optimize_graph=optimize_graph, **kwargs)
        return persist([collections], optimize_graph=optimize_graph, **kwargs)[0]

    # --- functions ---

    def submit(
        self,
        func: Callable[..., Any],
        *args: Any,
        key: Key | None = None,
        pure: bool = True,
        priority: float = 0,
        retries: int | None = None,
        resources: Mapping[str, float] | None = None,
        memory: int | str | None = None,
        workers: Any = None,
        allow_other_workers: bool = False,
        **kwargs: Any,
    ) -> Future:
        """Call a function in a worker and return the future of its result.

        Args:
            func: any function.
            *args: its arguments; futures become their values.
            key: names the task; made of function and arguments when None.
            pure: an equal call whose future lives gives the same future, without a new call.
            priority: among what is submitted together; accepted here for Dask's sake.
            retries: how often it is tried again when it raises.
            resources: what it needs: ``"CPU"``, ``"memory"``, or names given to `millpond.init`.
            memory: bytes of heap it needs.
            workers: accepted; there is one machine.
            allow_other_workers: likewise.
            **kwargs: keyword arguments of the function.

        Raises:
            TypeError: ``func`` is not callable, or a hint is of a wrong type.
            millpond.errors.SerializationError: the function or an argument cannot be pickled.
            millpond.errors.ResourceError: this machine has not what it needs.
        """
        self._check_open()
        check_callable(func, "submit")
        hints = call_hints(priority, retries, resources, memory, workers, allow_other_workers)
        call = Calls(func, kwargs, hints, pure=pure)
        return self._submit(call, args, call.key_for(args) if key is None else key)

    def map(
        self,
        func: Callable[..., Any],
        *iterables: Iterable[Any],
        key: str | Sequence[Key] | None = None,
        pure: bool = True,
        priority: float = 0,
        retries: int | None = None,
        resources: Mapping[str, float] | None = None,
        memory: int | str | None = None,
        workers: Any = None,
        allow_other_workers: bool = False,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[Future]:
        """Call a function for each item (with several iterables: side by side), as `submit` does.

        Args:
            func: any function.
            *iterables: of equal length, or ended by the shortest.
            key: a prefix for the keys, or one key for each call.
            pure: see `submit`, as for all that follow.
            priority: see there.
            retries: see there.
            resources: see there.
            memory: see there.
            workers: see there.
            allow_other_workers: see there.
            batch_size: accepted: calls travel in batches by themselves.
            **kwargs: keyword arguments of every call.

        Raises:
            ValueError: there is not one key for each call.
            TypeError: as for `submit`.
        """
        self._check_open()
        check_callable(func, "map")
        hints = call_hints(priority, retries, resources, memory, workers, allow_other_workers)
        given = list(zip(*iterables, strict=False))
        prefix = key if isinstance(key, str) else None
        calls = Calls(func, kwargs, hints, pure=pure, prefix=prefix)
        if key is None or isinstance(key, str):
            return [self._submit(calls, args, calls.key_for(args)) for args in given]
        if len(key) != len(given):
            raise ValueError(f"map was given {len(key)} keys for {len(given)} calls")
        return [self._submit(calls, args, each) for args, each in zip(given, key, strict=True)]

    def _submit(self, calls: Calls, args: tuple[Any, ...], key: Key) -> Future:
        known = self._known.get(key)
        if known is not None:
            future = Future(key, known)
            if not future.cancelled():
                return future
        return self._future(key, calls.send(args, key))

    # --- data ---

    def scatter(
        self,
        data: Any,
        *,
        broadcast: bool = False,
        hash: bool = True,  # noqa: A002 - Dask's name
        **_ignored: Any,
    ) -> Any:
        """Put values into the store and return their futures.

        Args:
            data: a list or tuple of values, a dictionary of them, or one value.
            broadcast: accepted: every worker of the machine sees the store.
            hash: name the futures by their content.
            **_ignored: settings of the method in dask.distributed.

        Returns:
            A list, a dictionary, or one future: as ``data``.
        """
        self._check_open()
        if isinstance(data, Mapping):
            return {name: self._future(name, value) for name, value in data.items()}
        if isinstance(data, list | tuple | set | frozenset):
            return type(data)([self._put(value, hash=hash) for value in data])
        return self._put(data, hash=hash)

    def _put(self, value: Any, *, hash: bool) -> Future:  # noqa: A002 - likewise
        name = tokenize(value) if hash else uuid.uuid4().hex
        return self._future(f"{type(value).__name__}-{name}", value)

    def gather(self, futures: Any, errors: str = "raise", **_ignored: Any) -> Any:
        """Wait for futures and return their values, in the same structure.

        Args:
            futures: a future, or lists, tuples, sets and dictionaries of futures.
            errors: ``"raise"``, or ``"skip"`` to leave out those that failed.
            **_ignored: settings of the method in dask.distributed.

        Raises:
            Exception: the error of the first that failed.
            concurrent.futures.CancelledError: one was cancelled.
            ValueError: ``errors`` is neither.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors must be 'raise' or 'skip', it is {errors!r}")
        found = futures_of(futures)
        if errors == "skip":
            wait(found)
            found = [future for future in found if future.status == "finished"]
        elif any(future.cancelled() for future in found if future.done()):
            next(future for future in found if future.done() and future.cancelled()).result()
        try:
            values = millpond.get([future.ref for future in found])
        except TaskCancelledError as error:
            raise CancelledError(str(error)) from None
        by_ref = {
            future.ref: private_copy(value) for future, value in zip(found, values, strict=True)
        }
        return _filled(futures, by_ref)

    def cancel(self, futures: Any, *, force: bool = False, **_ignored: Any) -> None:
        """Cancel tasks, and those that need their results.

        Args:
            futures: a future, a persisted collection, or a list of them.
            force: kill workers where interrupting does not help.
            **_ignored: settings of the method in dask.distributed.
        """
        for future in reversed(futures_of(futures)):
            future.cancel(force=force)

    def _future(self, key: Key, value: Any) -> Future:
        """Return the future of a key, and remember it while it lives."""
        future = value if isinstance(value, Future) else future_of_value(key, value)
        self._known[key] = future.ref
        return future

    # --- the client itself ---

    @property
    def status(self) -> str:
        """``"running"`` or ``"closed"``."""
        return "closed" if self._closed else "running"

    def close(self, timeout: float | str | None = None) -> None:
        """Give Dask its former scheduler back, and stop the engine if this client started it.

        Calling it again does nothing.

        Args:
            timeout: accepted for Dask's sake.
        """
        if self._closed:
            return
        self._closed = True
        if self._enabled is not None:
            self._enabled.undo()
        if self._starts_engine:
            millpond.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise NotInitializedError("this client is closed: make a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        session = None if self._closed else millpond.context()
        return f"<Client: {session if session is not None else self.status}>"


#: where a future has no value
_MISSING = object()


def _filled(structure: Any, values: Mapping[Any, Any]) -> Any:
    """Return the structure with values in the places of its futures; the skipped ones go."""
    if isinstance(structure, Future):
        return values.get(structure.ref, _MISSING)
    if isinstance(structure, Mapping):
        pairs = ((name, _filled(item, values)) for name, item in structure.items())
        return {name: item for name, item in pairs if item is not _MISSING}
    if isinstance(structure, list | tuple | set | frozenset):
        items = (_filled(item, values) for item in structure)
        return type(structure)([item for item in items if item is not _MISSING])
    return structure
