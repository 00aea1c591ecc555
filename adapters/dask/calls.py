"""Calls of functions, as a client's ``submit`` and ``map`` make them: checks, keys, sending."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from dask._task_spec import Task
from dask.base import tokenize
from dask.typing import Key
from dask.utils import funcname

import millpond

from .annotations import ambient_hints
from .hints import Hints, make_hints
from .sending import Sender
from .units import Unit

__all__ = ["Calls", "call_hints", "check_callable"]


class Calls:
    """Calls of one function.

    Args:
        func: the function.
        kwargs: keyword arguments of every call.
        hints: how they are to run.
        pure: equal calls have equal keys.
        prefix: of the keys; None for the function's name.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        kwargs: dict[str, Any],
        hints: Hints,
        *,
        pure: bool,
        prefix: str | None = None,
    ) -> None:
        self._func = func
        self._kwargs = kwargs
        self._hints = hints
        self._pure = pure
        self._prefix = prefix or funcname(func)
        self._sender = Sender()

    @functools.cached_property
    def _token(self) -> str:
        """Stands for what all calls have in common, of which tokens may take long to make."""
        return str(tokenize(self._func, self._kwargs))

    def key_for(self, args: tuple[Any, ...]) -> Key:
        """Return the key of a call with these arguments."""
        token = tokenize(self._token, *args) if self._pure else uuid.uuid4().hex
        return f"{self._prefix}-{token}"

    def send(self, args: tuple[Any, ...], key: Key) -> millpond.ObjectRef[Any]:
        """Submit a call; return the ref of its result."""
        task = Task(key, self._func, *args, **self._kwargs)
        (ref,) = self._sender.send(Unit([task], {}, hints=self._hints))
        return ref


def check_callable(func: object, method: str) -> None:
    """Raise TypeError unless a method of the client was given a function."""
    if not callable(func):
        raise TypeError(f"the first argument of {method} must be a function, it is {func!r}")


def call_hints(  # noqa: PLR0917 - the keywords of submit and map
    priority: float,
    retries: int | None,
    resources: Mapping[str, float] | None,
    memory: int | str | None,
    workers: Any,
    allow_other_workers: bool,
) -> Hints:
    """Return what these keywords and the annotations around the call say.

    Raises:
        TypeError: one of them is of a wrong type.
        ValueError: one of them makes no sense.
    """
    given = {
        "priority": priority or None,
        "retries": retries,
        "resources": resources,
        "memory": memory,
        "workers": workers,
        "allow_other_workers": allow_other_workers or None,
    }
    ambient = ambient_hints({n: v for n, v in given.items() if v is not None})
    return make_hints({n: v for n, v in ambient.items() if not callable(v)})
