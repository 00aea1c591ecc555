"""The options of tasks and actors: checked when they are given, not when they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import cloudpickle

from millpond.scheduler.resources import EXPECTED_MEMORY, amount, covers, pack_shape, quantity

from ..environments.description import RuntimeEnv
from ..errors import ResourceError

__all__ = ["ActorOptions", "TaskOptions"]

#: characters
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class _Resources:
    num_cpus: float | None = None
    memory: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    name: str | None = None
    runtime_env: Mapping[str, Any] | RuntimeEnv | None = None

    def declared_memory(self) -> int:
        """Return the bytes of heap that it says it needs, 0 when it does not say."""
        return int(self.memory or 0)

    def shape(
        self,
        default_cpus: float,
        total: Mapping[str, int],
        others: Callable[[], Sequence[Mapping[str, int]]] = tuple,
        environment: bytes = b"",
    ) -> bytes:
        """Return the packed resources.

        Args:
            default_cpus: CPUs, where the options do not say.
            total: what this machine has, in counted units.
            others: tells the same of the other nodes of the cluster.
            environment: id of the runtime environment that the worker must have.

        Raises:
            ResourceError: no node can ever provide them.
        """
        shape = _counted(self, default_cpus)
        lacking = [name for name, needed in shape.items() if needed > total.get(name, 0)]
        if lacking:
            elsewhere = others()
            if not any(covers(other, shape) for other in elsewhere):
                name = lacking[0]
                none = ", and no other node has what was asked for" if elsewhere else ""
                raise ResourceError(
                    f"{quantity(shape[name]):g} of resource {name!r} were asked for, but this "
                    f"machine has {quantity(total.get(name, 0)):g}{none}: ask for less, or give "
                    "millpond.init more"
                )
        return pack_shape(shape, environment)


def _counted(options: _Resources, default_cpus: float) -> dict[str, int]:
    cpus = default_cpus if options.num_cpus is None else options.num_cpus
    wanted: dict[str, Any] = {"CPU": cpus, **options.resources}
    if options.memory is not None:
        wanted["memory"] = options.memory
    try:
        return {name: amount(name, value) for name, value in wanted.items()}
    except ValueError as error:
        raise ResourceError(str(error)) from None


def _check_common(options: _Resources) -> None:
    given: Any = options
    if not isinstance(given.resources, Mapping):
        raise ResourceError(f"resources must be a mapping, it is {options.resources!r}")
    for name in given.resources:
        if not isinstance(name, str) or name in ("CPU", "memory", EXPECTED_MEMORY):
            raise ResourceError(
                f"{name!r} is no name of a custom resource (CPUs and memory have options of "
                "their own: num_cpus, memory)"
            )
    if given.name is not None and not isinstance(given.name, str):
        raise TypeError(f"name must be a string, it is {options.name!r}")
    object.__setattr__(options, "runtime_env", RuntimeEnv.checked(given.runtime_env))
    _counted(options, 1)


def _check_count(name: str, value: object, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} must be an integer >= {lowest}, it is {value!r}")


@dataclass(frozen=True, slots=True)
class TaskOptions(_Resources):
    """How a remote function runs.

    Attributes:
        num_cpus: CPUs it keeps busy (1).
        memory: bytes of heap it needs. It starts only where so much is free, and is stopped with
            `OutOfMemoryError` when it uses more. What counts is the memory that the task adds to
            its worker: arguments and results as Python objects included, values read in place
            from the object store not, nor what the worker had before (the interpreter, preloaded
            modules); 16 MiB more are tolerated. Where it is not given (or 0), the engine learns
            from earlier runs of the function how much to reserve, and nothing is enforced but
            the limits of all tasks together.
        resources: custom resources, name -> amount.
        name: shown in errors and logs instead of the function's name.
        runtime_env: what the task finds in its process, as in `millpond.init`. What it does not say
            is as in the task that submits it, or else as in `millpond.init`.
        num_returns: values it returns (1); with n > 1 `remote` gives n refs.
        max_retries: further attempts after a worker died (3); -1 for no limit. With 0 a result
            that was lost is not rebuilt either, since that means to run the task again.
        in_order: whether it starts only after the tasks that this process submitted before it, as
            far as these can run (False). Else it may go before them: next to the task that made its
            stored arguments, while these are in memory.
        retry_exceptions: True, or exception types, that are tried again too.
    """

    num_returns: int = 1
    max_retries: int = 3
    retry_exceptions: bool | tuple[type[Exception], ...] = False
    in_order: bool = False

    def __post_init__(self) -> None:
        _check_common(self)
        _check_count("num_returns", self.num_returns, 0)
        _check_count("max_retries", self.max_retries, -1)
        if not isinstance(self.in_order, bool):
            raise TypeError(f"in_order must be a bool, it is {self.in_order!r}")
        types: Any = self.retry_exceptions
        if not isinstance(types, bool):
            types = tuple(types) if isinstance(types, (list, tuple)) else (types,)
            if not all(isinstance(t, type) and issubclass(t, Exception) for t in types):
                raise TypeError(
                    f"retry_exceptions must be a bool or exception types, it is {types!r}"
                )
            object.__setattr__(self, "retry_exceptions", types)

    def packed_retry_exceptions(self) -> bytes:
        """Return them as they travel."""
        if isinstance(self.retry_exceptions, bool):
            return b"*" if self.retry_exceptions else b""
        return bytes(cloudpickle.dumps(self.retry_exceptions)) if self.retry_exceptions else b""


@dataclass(frozen=True, slots=True)
class ActorOptions(_Resources):
    """How an actor runs: num_cpus (0), memory, resources, as for tasks.

    An actor keeps its ``memory`` reserved, and is killed when it uses more: everything counts that
    it has allocated in its life. Where it is not given nothing is reserved.

    Attributes:
        name: under which every process of the cluster can find it with `millpond.get_actor`, from
            its start to its end. No two actors have the same.
        get_if_exists: give a handle of the actor that has the name, if there is one, instead of
            `ActorNameTakenError`.
        runtime_env: what the actor finds in its process, as for tasks.
        max_restarts: how often the actor is constructed again, with the same arguments and on any
            node that has its resources, after its process was lost (0); -1 for no limit. Its state
            is that of a new object. Not after its constructor raised an exception.
        max_task_retries: further attempts of a call whose process was lost (0); -1 for no limit.
            Such a call may have run already, in part or whole. With 0 it fails with
            `ActorUnavailableError`.
    """

    max_restarts: int = 0
    max_task_retries: int = 0
    get_if_exists: bool = False

    def __post_init__(self) -> None:
        _check_common(self)
        if self.name is not None and not 0 < len(self.name) <= _LONGEST_NAME:
            raise ValueError(
                f"the name of an actor has 1 to {_LONGEST_NAME} characters, this one has "
                f"{len(self.name)}: {self.name[:50]!r}"
            )
        if not isinstance(self.get_if_exists, bool):
            raise TypeError(f"get_if_exists must be a bool, it is {self.get_if_exists!r}")
        if self.get_if_exists and self.name is None:
            raise ValueError("get_if_exists is about actors of one name: give a name, too")
        _check_count("max_restarts", self.max_restarts, -1)
        _check_count("max_task_retries", self.max_task_retries, -1)


def changed(options: Any, changes: dict[str, Any]) -> Any:
    """Return options with some changed.

    Raises:
        TypeError: there is no such option.
    """
    known = [f.name for f in fields(options)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}; the options are: {', '.join(known)}")
    return replace(options, **changes)
