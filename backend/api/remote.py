"""`remote`: makes functions into tasks and classes into actors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, overload

from ..owner.functions import describe_callable
from ..owner.refs import ObjectRef
from ..owner.runtime import Runtime
from ..owner.tasks import PendingTask
from ..serialization.arguments import serialize_arguments
from ..wire import messages as m
from .options import ActorOptions, TaskOptions, changed
from .session import connected_runtime

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "RemoteFunction", "remote"]


@overload
def remote(target: type[Any]) -> ActorClass: ...
@overload
def remote(target: Callable[..., Any]) -> RemoteFunction: ...
@overload
def remote(target: None = None, **options: Any) -> Callable[[Any], Any]: ...
def remote(target: Any = None, **options: Any) -> Any:
    """Make a function remote, or a class an actor class; used as a decorator or called.

    Args:
        target: the function or class.
        options: see `TaskOptions` for functions and `ActorOptions` for classes.

    Raises:
        TypeError: ``target`` is neither, or an option does not exist.
        ResourceError: an amount is negative, not finite, or not a number.
    """
    if target is None:
        if not options:
            raise TypeError("use @millpond.remote without parentheses, or with options inside")
        return lambda later: remote(later, **options)
    if inspect.isclass(target):
        return ActorClass(target, changed(ActorOptions(), options))
    if callable(target):
        return RemoteFunction(target, changed(TaskOptions(), options))
    raise TypeError(f"millpond.remote takes a function or a class, not {target!r}")


class RemoteFunction:
    """A function whose calls are tasks."""

    def __init__(self, function: Callable[..., Any], options: TaskOptions) -> None:
        self._function = function
        self._options = options
        self._name = options.name or describe_callable(function)
        self._retry_exceptions = options.packed_retry_exceptions()
        #: id of the process it was exported in, with its function id and shape there
        self._exported: tuple[bytes, bytes, bytes] | None = None
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a call must say whether it is a task."""
        raise TypeError(
            f"{self._name} is a remote function: call {self._name}.remote(...) to run it as a "
            f"task, or {self._name}.local(...) to run it here"
        )

    def local(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here and now, without the engine."""
        return self._function(*args, **kwargs)

    def options(self, **changes: Any) -> RemoteFunction:
        """Return the same function with other options; see `TaskOptions`."""
        return RemoteFunction(self._function, changed(self._options, changes))

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a task.

        Top-level arguments that are refs are replaced by their values before the task runs;
        refs inside other arguments stay refs.

        Returns:
            A ref of the result; a list of refs when ``num_returns`` > 1; None when it is 0.

        Raises:
            SerializationError: the function or an argument cannot be pickled.
            ResourceError: the machine can never provide what the task asks for.
        """
        runtime = connected_runtime()
        exported = self._exported
        if exported is None or exported[0] != runtime.process_id:
            function_id = runtime.export(self._function)
            shape = self._options.shape(1, runtime.resources, runtime.other_resources)
            exported = self._exported = (runtime.process_id, function_id, shape)
        options = self._options
        count = options.num_returns
        task = PendingTask(
            runtime.ids.reserve(count or 1),
            exported[1],
            self._name,
            exported[2],
            retries_left=options.max_retries,
            retry_exceptions=self._retry_exceptions,
            memory=options.declared_memory(),
        )
        attach_arguments(runtime, task, args, kwargs)
        refs = runtime.submission.submit(task, count)
        if count == 1:
            return refs[0]
        return refs if count else None

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFunction, (self._function, self._options)


def attach_arguments(
    runtime: Runtime, task: PendingTask, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Serialize the arguments of a call into its task; large ones go to the store."""
    if not args and not kwargs:
        return
    payload, task.arguments = serialize_arguments(
        args, kwargs, ObjectRef, f"an argument of {task.name}"
    )
    assert payload is not None
    task.held = list(payload.contained)
    for ref in (*task.arguments, *task.held):
        runtime.access.entry_of(ref)
    if payload.size < runtime.objects.inline.limit:
        task.payload = payload.to_bytes()
    else:
        task.payload_ref = runtime.access.put_serialized(payload, f"arguments of {task.name}")
        task.payload_ref._entry.lineage = f"it holds the arguments of {task.name} given by value"


class ActorClass:
    """A class whose instances live in a worker process of their own."""

    def __init__(self, cls: type, options: ActorOptions) -> None:
        self._class = cls
        self._options = options
        self._name = options.name or describe_callable(cls)
        functools.update_wrapper(self, cls, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: instances live in processes of their own."""
        raise TypeError(f"{self._name} is an actor class: use {self._name}.remote(...)")

    def options(self, **changes: Any) -> ActorClass:
        """Return the same class with other options; see `ActorOptions`."""
        return ActorClass(self._class, changed(self._options, changes))

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Start an actor; its constructor runs with these arguments.

        Calls may be made at once. If the constructor raises, they fail with `ActorDiedError`.
        The actor ends when the last handle of it is gone and its calls are done, and with the
        process that started it. See `ActorOptions` for what happens when its own process is lost.
        """
        runtime = connected_runtime()
        task = PendingTask(
            runtime.ids.reserve(1),
            runtime.export(self._class),
            f"{self._name}.__init__",
            self._options.shape(0, runtime.resources, runtime.other_resources),
            kind=m.ACTOR_CREATE,
            memory=self._options.declared_memory(),
        )
        attach_arguments(runtime, task, args, kwargs)
        methods = [
            name
            for name, _ in inspect.getmembers(self._class, callable)
            if not name.startswith("__") or name == "__call__"
        ]
        life = runtime.actor_calls.create(task, self._options.max_restarts)
        return ActorHandle(life, self._name, methods, self._options.max_task_retries)

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorClass, (self._class, self._options)


class ActorHandle:
    """Names an actor; can be passed to tasks and other actors.

    ``handle.method.remote(...)`` calls a method. Calls of one process run in their order.
    """

    def __init__(
        self, life: ObjectRef[Any], name: str, methods: list[str], max_task_retries: int = 0
    ) -> None:
        self._life = life
        self._name = name
        self._methods = methods
        self._max_task_retries = max_task_retries

    def __getattr__(self, method: str) -> ActorMethod:
        if method.startswith("__") or method not in self.__dict__.get("_methods", ()):
            name = self.__dict__.get("_name", "")
            raise AttributeError(f"actor {name} has no method {method!r}")
        bound = ActorMethod(self, method, 1)
        self.__dict__[method] = bound
        return bound

    def __repr__(self) -> str:
        return f"ActorHandle({self._name}, {self._life.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorHandle, (self._life, self._name, self._methods, self._max_task_retries)


class ActorMethod:
    """One method of an actor."""

    __slots__ = ("_life", "_max_task_retries", "_method", "_name", "_num_returns")

    def __init__(self, handle: ActorHandle, method: str, num_returns: int) -> None:
        self._life = handle._life
        self._method = method
        self._name = f"{handle._name}.{method}"
        self._num_returns = num_returns
        self._max_task_retries = handle._max_task_retries

    def options(
        self, *, num_returns: int | None = None, max_task_retries: int | None = None
    ) -> ActorMethod:
        """Return the method with another number of return values, or of further attempts."""
        returns = self._num_returns if num_returns is None else num_returns
        retries = self._max_task_retries if max_task_retries is None else max_task_retries
        TaskOptions(num_returns=returns)
        ActorOptions(max_task_retries=retries)
        copy = ActorMethod.__new__(ActorMethod)
        for slot in ActorMethod.__slots__:
            setattr(copy, slot, getattr(self, slot))
        copy._num_returns = returns
        copy._max_task_retries = retries
        return copy

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; returns refs as a remote function does."""
        runtime = connected_runtime(self._life)
        runtime.access.entry_of(self._life)
        count = self._num_returns
        task = PendingTask(
            runtime.ids.reserve(count or 1),
            b"",
            self._name,
            b"",
            kind=m.ACTOR_METHOD,
            retries_left=self._max_task_retries,
        )
        task.actor_id = self._life.id
        task.method = self._method
        attach_arguments(runtime, task, args, kwargs)
        task.held.append(self._life)
        refs = runtime.actor_calls.submit(task, count)
        if count == 1:
            return refs[0]
        return refs if count else None
