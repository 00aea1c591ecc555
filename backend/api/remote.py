"""`remote`: makes functions into tasks and classes into actors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, overload

from ..owner.functions import describe_callable
from ..owner.runtime import Runtime
from ..owner.tasks import PendingTask
from .actors import ActorClass
from .arguments import attach_arguments
from .options import ActorOptions, TaskOptions, changed
from .session import connected_runtime

__all__ = ["RemoteFunction", "remote"]


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
        RuntimeEnvError: ``runtime_env`` is wrong.
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
        #: id of the process it was exported in, with its function id, shape and environment there
        self._exported: tuple[bytes, bytes, bytes, bytes] | None = None
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
            RuntimeEnvError: files of its ``runtime_env`` cannot be sent.
        """
        runtime = connected_runtime()
        exported = self._exported
        if exported is None or exported[0] != runtime.process_id:
            exported = self._exported = self._export(runtime)
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
            in_order=options.in_order,
            environment=exported[3],
        )
        attach_arguments(runtime, task, args, kwargs)
        refs = runtime.submission.submit(task, count)
        if count == 1:
            return refs[0]
        return refs if count else None

    def _export(self, runtime: Runtime) -> tuple[bytes, bytes, bytes, bytes]:
        function_id = runtime.export(self._function)
        options = self._options
        environment = runtime.environments.export(options.runtime_env)
        shape = options.shape(1, runtime.resources, runtime.other_resources, environment)
        return runtime.process_id, function_id, shape, environment

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFunction, (self._function, self._options)
