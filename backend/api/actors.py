"""Classes whose instances are actors, and the handles by which these are called."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from ..errors import ActorNameTakenError
from ..owner.actor_names import hold_actor, name_actor
from ..owner.functions import describe_callable
from ..owner.refs import ObjectRef
from ..owner.runtime import Runtime
from ..owner.tasks import PendingTask
from ..wire import messages as m
from .arguments import attach_arguments
from .options import ActorOptions, TaskOptions, changed
from .session import connected_runtime

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "handle_of"]


class ActorClass:
    """A class whose instances live in a worker process of their own."""

    def __init__(self, cls: type, options: ActorOptions) -> None:
        self._class = cls
        self._options = options
        self._name = describe_callable(cls)
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

        Raises:
            ActorNameTakenError: another actor has the name.
            SerializationError: the class or an argument cannot be pickled.
            ResourceError: no node can ever provide what the actor asks for.
            RuntimeEnvError: files of its ``runtime_env`` cannot be sent.
        """
        runtime = connected_runtime()
        options = self._options
        environment = runtime.environments.export(options.runtime_env)
        task = PendingTask(
            runtime.ids.reserve(1),
            runtime.export(self._class),
            f"{self._name}.__init__",
            options.shape(0, runtime.resources, runtime.other_resources, environment),
            kind=m.ACTOR_CREATE,
            memory=options.declared_memory(),
            environment=environment,
        )
        attach_arguments(runtime, task, args, kwargs)
        methods = [
            name
            for name, _ in inspect.getmembers(self._class, callable)
            if not name.startswith("__") or name == "__call__"
        ]
        retries = options.max_task_retries
        named = None
        if options.name is not None:
            named = m.NamedActor(options.name, task.task_id, self._name, methods, retries)
            other = self._other_of_this_name(runtime, named)
            if other is not None:
                return other
        life = runtime.actor_calls.create(task, options.max_restarts, named)
        return ActorHandle(life, self._name, methods, retries)

    def _other_of_this_name(self, runtime: Runtime, named: m.NamedActor) -> ActorHandle | None:
        """Give a new actor its name; return the one that has it already, if that is wanted."""
        while (holder := name_actor(runtime, named)).actor_id != named.actor_id:
            if not self._options.get_if_exists:
                raise ActorNameTakenError(
                    f"an actor of class {holder.class_name} is named {named.name!r} already: use "
                    "another name, millpond.get_actor, or options(get_if_exists=True)"
                )
            handle = handle_of(holder)
            if handle is not None:
                return handle
            # It is about to end, and the head to hear of that.
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorClass, (self._class, self._options)


def handle_of(named: m.NamedActor) -> ActorHandle | None:
    """Return a handle of an actor that was found by its name; None if it has ended meanwhile."""
    life = hold_actor(connected_runtime(), named.actor_id)
    if life is None:
        return None
    return ActorHandle(life, named.class_name, named.methods, named.max_task_retries)


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
