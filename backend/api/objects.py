"""The functions on refs: get, put, wait, cancel, kill, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, overload

from millpond.objectstore.spill.storage import SpillStatistics
from millpond.objectstore.statistics import StoreStatistics

from ..owner.objects import PENDING
from ..owner.refs import ObjectRef
from ..wire import messages as m
from .actors import ActorHandle
from .session import connected_runtime

__all__ = ["Statistics", "cancel", "get", "kill", "preload", "put", "statistics", "wait"]

T = TypeVar("T")


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(refs: Sequence[ObjectRef[Any]], *, timeout: float | None = None) -> list[Any]: ...


def get(refs: Any, *, timeout: float | None = None) -> Any:
    """Return the value of a ref, or the values of a list of refs, waiting for them.

    Large values are not copied: their arrays are read-only views of shared memory, which they
    keep for as long as they live. A result whose bytes were lost is rebuilt, by running its task
    again.

    Args:
        refs: a ref, or a list or tuple of refs.
        timeout: seconds to wait at most; None for ever, 0 to not wait.

    Raises:
        GetTimeoutError: not all were ready in time.
        ObjectLostError: a value was lost, and cannot be rebuilt.
        TypeError: something in ``refs`` is not a ref.
        Exception: the exception of a task that failed, with the worker's traceback as cause.
    """
    _check_timeout(timeout)
    if type(refs) is ObjectRef:
        return connected_runtime(refs).access.get([refs], timeout)[0]
    _check_refs(refs, "get")
    return connected_runtime(refs[0] if refs else None).access.get(refs, timeout)


def put(value: T) -> ObjectRef[T]:
    """Store a value once, to be passed to many tasks; waits while the store makes room.

    Raises:
        TypeError: the value is a ref already.
        SerializationError: it cannot be pickled.
        ObjectStoreFullError: it does not fit and spilling is off.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(f"millpond.put was given {value!r}: that value is stored already")
    return connected_runtime().access.put(value)


def wait(
    refs: Sequence[ObjectRef[Any]], *, num_returns: int = 1, timeout: float | None = None
) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
    """Wait until some refs are ready; a failed task counts as ready.

    Args:
        refs: distinct refs.
        num_returns: how many to wait for.
        timeout: seconds to wait at most; None for ever, 0 to not wait.

    Returns:
        At most ``num_returns`` ready refs, and all others, both in the order of ``refs``.

    Raises:
        TypeError: something in ``refs`` is not a ref.
        ValueError: a ref is given twice, or ``num_returns`` is not between 1 and their number.
    """
    _check_timeout(timeout)
    _check_refs(refs, "wait")
    if len(set(refs)) != len(refs):
        raise ValueError("millpond.wait was given the same ref more than once")
    if not 1 <= num_returns <= len(refs):
        raise ValueError(
            f"num_returns is {num_returns}, but must be between 1 and the number of refs, "
            f"which is {len(refs)}"
        )
    access = connected_runtime(refs[0]).access
    ready = _ready(refs, num_returns)
    if len(ready) < num_returns:
        access.wait(refs, num_returns, timeout)
        ready = _ready(refs, num_returns)
    for index in ready:
        access.entry_of(refs[index])
    if not ready:
        return [], list(refs)
    # Slices, because waiting for one after the other must not cost a loop over all each time.
    rest: list[ObjectRef[Any]] = []
    start = 0
    for index in ready:
        rest += refs[start:index]
        start = index + 1
    rest += refs[start:]
    return [refs[index] for index in ready], rest


def _ready(refs: Sequence[ObjectRef[Any]], limit: int) -> list[int]:
    """Return the positions of the first ``limit`` refs that are ready."""
    found = []
    for index, ref in enumerate(refs):
        if ref._entry.state != PENDING:
            found.append(index)
            if len(found) == limit:
                break
    return found


def _check_timeout(timeout: object) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be seconds or None, it is {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"timeout must be seconds >= 0 or None, it is {timeout!r}")


def _check_refs(refs: Any, function: str) -> None:
    if not isinstance(refs, (list, tuple)):
        raise TypeError(
            f"millpond.{function} takes an ObjectRef or a list of them, not "
            f"{type(refs).__qualname__}: {refs!r:.100}"
        )
    if set(map(type, refs)) - {ObjectRef}:
        index, wrong = next((i, r) for i, r in enumerate(refs) if type(r) is not ObjectRef)
        raise TypeError(
            f"millpond.{function}: element {index} is not an ObjectRef but "
            f"{type(wrong).__qualname__}: {wrong!r:.100}"
        )


def cancel(ref: ObjectRef[Any], *, force: bool = False) -> bool:
    """Cancel the task that makes an object; getting it then raises `TaskCancelledError`.

    A task that has not begun never will. One that runs is interrupted where Python code can
    be; with ``force`` its worker is killed. A finished task stays as it is.

    Returns:
        Whether the task was unfinished.

    Raises:
        TypeError: ``ref`` is not a ref.
        ValueError: another process submitted the task.
    """
    _check_refs([ref], "cancel")
    runtime = connected_runtime(ref)
    entry = runtime.access.entry_of(ref)
    if not entry.owned:
        raise ValueError(f"{ref!r} belongs to another process, and only that can cancel it")
    with runtime.lock:
        return runtime.submission.cancel(entry, force=force)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """Kill an actor at once; unfinished calls fail with `ActorDiedError`.

    Args:
        actor: a handle of it.
        no_restart: end it for good. With False only its process is killed, and it is constructed
            again if it has ``max_restarts`` left.

    Raises:
        TypeError: ``actor`` is not an actor handle.
    """
    if not isinstance(actor, ActorHandle):
        raise TypeError(f"millpond.kill takes an actor handle, not {type(actor).__qualname__}")
    runtime = connected_runtime(actor._life)
    runtime.node.send(m.KillActor(actor._life.id, "it was killed", not no_restart))


def preload(*modules: str) -> None:
    """Have workers import modules before they are needed, in the background."""
    connected_runtime().node.send(m.Preload(list(modules)))


@dataclass(frozen=True)
class Statistics:
    """A snapshot of a session.

    Attributes:
        store: the object store; sizes in bytes.
        workers: worker processes.
        processes: process ids of everything the session started.
        memory_kills: workers that were stopped because heap memory ran out, or their task used
            more than it declared.
        spill: what is kept outside memory; None when nothing is ever spilled.
        sent_bytes: bytes of objects that other nodes of the cluster have read here.
        received_bytes: bytes of objects that were read on other nodes.
    """

    store: StoreStatistics
    workers: int
    processes: list[int]
    memory_kills: int
    spill: SpillStatistics | None = None
    sent_bytes: int = 0
    received_bytes: int = 0


def statistics() -> Statistics:
    """Return what the store holds and which processes run."""
    runtime = connected_runtime()
    runtime.releaser.drain()
    answer = runtime.requests.ask(runtime.node, m.GetStatistics(0))
    store = StoreStatistics(**{f.name: answer.store[f.name] for f in fields(StoreStatistics)})
    spill = None if answer.spill is None else SpillStatistics(**answer.spill)
    return Statistics(
        store,
        answer.workers,
        answer.pids,
        answer.memory_kills,
        spill,
        answer.sent,
        answer.received,
    )
