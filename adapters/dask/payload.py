"""Pickling a unit economically, with everything heavy or foreign lifted out of it.

A computation pickles thousands of small tasks that share functions and data, so

- functions and classes that must travel by value (lambdas, ``__main__``) are pickled once per
  computation, not once per task;
- an object reference, at whatever depth of whatever object, is lifted: it becomes an argument of
  the engine's call, and the task finds the value in its place. No worker waits for a fetch;
- a large array or frame is put into the store once, however many tasks use it, and lifted too.

`loads` is the counterpart in the workers.
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
from dask._task_spec import Dict, List, Set, Task, TaskRef, Tuple
from dask.typing import Key

import millpond
from millpond.errors import SerializationError

from .futures import Future
from .locks import THREAD_LOCKS, is_serializable_lock, process_lock_for, thread_locks_in
from .units import Unit

__all__ = [
    "LARGE",
    "Bundled",
    "Call",
    "Work",
    "WorkPickler",
    "call_of",
    "inputs_of",
    "loads",
    "quick_size",
    "size_of",
    "unpickle",
    "work_of",
]

#: bytes from which a value is stored once instead of travelling inside each task
LARGE = 64 * 1024

_CONTAINERS = frozenset({List, Tuple, Set, Dict})


#: key, function, arguments and keyword arguments of a task
Call = tuple[Key, Callable[..., Any], tuple[Any, ...], dict[str, Any]]

#: the name of a value inside an argument, the number of the argument, and the value's index in it
Bundled = tuple[Key, int, int]


class Work(NamedTuple):
    """What a worker gets to know of a unit."""

    calls: tuple[Call, ...]
    #: the names under which the tasks look for the values that come as arguments
    names: tuple[Key, ...]
    #: small values of the graph itself, by name
    literals: dict[Key, Any]
    #: the pieces to return, as (function, further arguments); empty: the result itself
    pieces: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...]
    #: how often a task that raises is tried again
    retries: int
    #: values that come as items of arguments
    bundled: tuple[Bundled, ...] = ()


def work_of(
    unit: Unit,
    names: Sequence[Key],
    literals: dict[Key, Any],
    bundled: Sequence[Bundled] = (),
) -> Work:
    """Return what is to be known of a unit by whoever runs it."""
    calls = tuple([call_of(task) for task in unit.tasks])
    pieces = tuple([(pick.function, pick.arguments) for pick in unit.picks])
    return Work(calls, tuple(names), literals, pieces, unit.hints.retries, tuple(bundled))


def inputs_of(
    names: Sequence[Key],
    literals: Mapping[Key, Any],
    bundled: Sequence[Bundled],
    values: Sequence[Any],
) -> Iterator[tuple[Key, Any]]:
    """Yield the inputs of work by the names that its tasks use.

    Args:
        names: of the values that come as arguments.
        literals: values of the graph itself, by name.
        bundled: values that come as items of arguments.
        values: the arguments; the lifted ones follow those with names.
    """
    yield from zip(names, values, strict=False)
    yield from literals.items()
    for name, slot, index in bundled:
        yield name, values[slot][index]


class WorkPickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # not annotated
    """Pickles the units of one computation."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        # cloudpickle's is a chain of two mappings, looked up in Python for each object.
        self.dispatch_table = dict(cloudpickle.CloudPickler.dispatch_table)
        super().__init__(self._buffer, protocol=pickle.HIGHEST_PROTOCOL)
        #: id of a function or class -> how it travels: None by name, bytes, or a ref
        self._by_value: dict[int, bytes | millpond.ObjectRef[Any] | None] = {}
        #: id of a large value -> its one stored copy
        self._stored: dict[int, millpond.ObjectRef[Any]] = {}
        #: what the ids above belong to, so that no id is used again meanwhile
        self._known: list[object] = []
        self._lifted: list[millpond.ObjectRef[Any]] = []
        self._first_slot = 0
        #: ids of the thread locks that the present tasks name
        self._locks: set[int] = set()

    def dumps(
        self,
        work: tuple[Any, ...],
        arguments: int,
        tasks: Sequence[Task],
        literals: dict[Key, Any],
    ) -> tuple[bytes, list[millpond.ObjectRef[Any]]]:
        """Return pickled work and the refs lifted out of it.

        Args:
            work: a `Work`, or another tuple of what is to be known.
            arguments: how many values come as arguments before the lifted ones.
            tasks: those of the work; the last one names it in errors.
            literals: values in the work that are not part of a task.

        Raises:
            SerializationError: a task cannot be pickled; the text names a key.
        """
        self._first_slot = arguments
        key = tasks[-1].key
        try:
            try:
                return self._dump(work), self._lifted
            except (TypeError, pickle.PicklingError):
                self._locks = thread_locks_in([*tasks, literals])
                if not self._locks:
                    raise
            return self._dump(work), self._lifted
        except SerializationError as error:
            error.add_note(f"in the Dask task {key!r}")
            raise
        except Exception as error:
            raise SerializationError(
                f"the Dask task {key!r} cannot be sent to a worker: {type(error).__name__}: {error}"
            ) from error

    def _dump(self, work: tuple[Any, ...]) -> bytes:
        self._lifted = []
        try:
            # A plain tuple: the class of the named tuple would add its name to each task.
            pickle.Pickler.dump(self, tuple(work))
            return self._buffer.getvalue()
        finally:
            self._buffer.seek(0)
            self._buffer.truncate()
            self.clear_memo()

    def store(self, value: object) -> millpond.ObjectRef[Any]:
        """Put a large value into the store, the first time that it is met."""
        ref = self._stored.get(id(value))
        if ref is None:
            ref = self._stored[id(value)] = millpond.put(value)
            self._known.append(value)
        return ref

    def reducer_override(self, obj: Any) -> Any:
        """Decide how an object that is not a plain built-in travels."""
        kind = type(obj)
        if kind is TaskRef:
            return TaskRef, (obj.key,)
        if kind is Task or kind in _CONTAINERS:
            return _reduce_node(kind, obj)
        if kind is FunctionType or issubclass(kind, type):
            return self._reduce_code(obj)
        if kind is millpond.ObjectRef or kind is Future:
            return self._lift(obj.ref if kind is Future else obj)
        measure = _measure_of(kind)
        if measure is not None and measure(obj) >= LARGE:
            return self._lift(self.store(obj))
        reduced = _reduce_lock(kind, obj, self._locks)
        return super().reducer_override(obj) if reduced is None else reduced

    def _lift(self, ref: millpond.ObjectRef[Any]) -> tuple[Any, ...]:
        self._lifted.append(ref)
        return _lifted_value, (self._first_slot + len(self._lifted) - 1,)

    def _reduce_code(self, code: Any) -> Any:
        try:
            travelling = self._by_value[id(code)]
        except KeyError:
            travelling = self._by_value[id(code)] = self._prepare_code(code)
            self._known.append(code)
        if travelling is None:
            return NotImplemented  # pickle's own way: by module and name
        if isinstance(travelling, bytes):
            return _load_code, (travelling,)
        return self._lift(travelling)

    def _prepare_code(self, code: Any) -> bytes | millpond.ObjectRef[Any] | None:
        if super().reducer_override(code) is NotImplemented:
            return None
        try:
            pickled = _CodePickler.dumps(code, self._locks)
        except SerializationError:
            # It holds a ref (or cannot be pickled at all: then this says why).
            return millpond.put(code)
        return pickled if len(pickled) < LARGE else millpond.put(code)


class _CodePickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # not annotated
    """Pickles one function or class by value."""

    def __init__(self, stream: io.BytesIO, locks: set[int]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._locks = locks

    @classmethod
    def dumps(cls, code: Any, locks: set[int]) -> bytes:
        stream = io.BytesIO()
        cls(stream, locks).dump(code)
        return stream.getvalue()

    def reducer_override(self, obj: Any) -> Any:
        reduced = _reduce_lock(type(obj), obj, self._locks)
        return super().reducer_override(obj) if reduced is None else reduced


def _reduce_lock(kind: type, obj: Any, named: set[int]) -> tuple[Any, ...] | None:
    """Reduce a lock to one of all processes; None for what is no such lock.

    Args:
        kind: the object's type.
        obj: the object.
        named: ids of the thread locks that may travel.
    """
    if kind in THREAD_LOCKS:
        if id(obj) not in named:
            raise TypeError(f"cannot pickle {kind.__name__!r} object")
    elif not is_serializable_lock(kind):
        return None
    lock = process_lock_for(obj)
    return None if lock is None else lock.__reduce__()


def call_of(task: Task) -> Call:
    """Return what is to be called for a task."""
    if type(task) is Task:
        return task.key, task.func, task.args, task.kwargs
    return task.key, _identity, (task,), {}  # a container, or a task that knows how to call itself


def _reduce_node(kind: type, node: Task) -> tuple[Any, ...]:
    """Reduce a task inside another one to what makes it (Dask sends much more)."""
    if kind is Task:
        return _rebuild_task, (node.key, node.func, node.args, node.kwargs)
    return _rebuild_container, (kind, node.args)


# --- sizes -------------------------------------------------------------------------------

_measures: dict[type, Callable[[Any], int] | None] = {}


def _measure_of(kind: type) -> Callable[[Any], int] | None:
    try:
        return _measures[kind]
    except KeyError:
        measure = _measures[kind] = _find_measure(kind)
        return measure


def _find_measure(kind: type) -> Callable[[Any], int] | None:
    """Return a cheap way to size instances of ``kind``, or None for what is never lifted."""
    library = kind.__module__.partition(".")[0]
    if library == "pandas" and hasattr(kind, "size"):
        return _pandas_size  # the exact size of a frame takes longer than pickling a small one
    if library in ("numpy", "pyarrow") and hasattr(kind, "nbytes"):
        return _nbytes
    return None


def _pandas_size(value: Any) -> int:
    return int(value.size) * 8


def _nbytes(value: Any) -> int:
    return int(value.nbytes)


def quick_size(value: object) -> int:
    """Return very roughly how many bytes a value takes, in no time."""
    measure = _measure_of(type(value))
    if measure is not None:
        return measure(value)
    if isinstance(value, str | bytes):
        return len(value)
    return 64 * len(value) if isinstance(value, list | tuple | dict | set) else 64


def size_of(value: object) -> int:
    """Return about how many bytes a value of the graph takes."""
    if isinstance(value, str | bytes):
        return len(value)
    if value is None or isinstance(value, int | float):
        return 8
    from dask.sizeof import sizeof

    return int(sizeof(value))


# --- in the worker -----------------------------------------------------------------------


class _Loading(threading.local):
    values: Sequence[Any] = ()


_loading = _Loading()

#: functions and classes that came by value, by their pickled form
_code: dict[bytes, Any] = {}
_MAX_CODE = 1024


def loads(payload: bytes, values: Sequence[Any]) -> Work:
    """Rebuild a pickled unit around the values of its arguments."""
    return Work(*unpickle(payload, values))


def unpickle(payload: bytes, values: Sequence[Any]) -> tuple[Any, ...]:
    """Rebuild pickled work around the values of its arguments."""
    outer, _loading.values = _loading.values, values
    try:
        work: tuple[Any, ...] = pickle.loads(payload)
    finally:
        _loading.values = outer
    return work


def _identity(value: Any) -> Any:
    return value


def _rebuild_task(
    key: Key, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Task:
    return Task(key, func, *args, **kwargs)


def _rebuild_container(kind: Any, args: tuple[Any, ...]) -> Task:
    if len(args) == 1:  # lest a single list is taken for the items
        return kind(kind.klass(args))
    return kind(*args)


def _lifted_value(slot: int) -> Any:
    return _loading.values[slot]


def _load_code(pickled: bytes) -> Any:
    code = _code.get(pickled)
    if code is None:
        code = pickle.loads(pickled)
        if len(_code) >= _MAX_CODE:
            _code.pop(next(iter(_code)))
        _code[pickled] = code
    return code
