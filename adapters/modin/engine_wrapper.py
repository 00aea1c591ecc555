"""Modin's view of the engine: deploy, put, wait, materialize."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import millpond

from . import session, tasks
from .arguments import pack
from .extents import Extent
from .functions import ShippedFunction, ship
from .outlines import remember

#: What Modin calls a future: something that has no value in the driver yet.
_FUTURES = (millpond.ObjectRef, Extent, ShippedFunction)


def submit(body: Callable[..., Any], num_returns: int, *arguments: Any) -> Any:
    """Submit a task that runs a function of `tasks`.

    Args:
        body: The function.
        num_returns: How many values it returns.
        *arguments: Its arguments; refs among them, at the top level, arrive as values.

    Returns:
        A ref, or a list of refs if ``num_returns`` is not 1.
    """
    session.ensure_started()
    return _remote(body, num_returns).remote(*arguments)


@cache
def _remote(body: Callable[..., Any], num_returns: int) -> Any:
    return millpond.remote(num_returns=num_returns)(body)


class MillpondWrapper:
    """Mix-in through which Modin's readers and partitions use the engine."""

    @classmethod
    def deploy(
        cls,
        func: Any,
        f_args: Sequence[Any] | None = None,
        f_kwargs: Mapping[str, Any] | None = None,
        return_pandas_df: bool | None = None,
        num_returns: int = 1,
    ) -> Any:
        """Run a function in a worker, with its arguments as they are now.

        Args:
            func: The function, or what `put` returned for it.
            f_args: Positional arguments.
            f_kwargs: Keyword arguments.
            return_pandas_df: Whether to make a pandas frame of the result.
            num_returns: How many values the function returns.

        Returns:
            A ref, or a list of refs if ``num_returns`` is not 1.
        """
        call = (cls.sendable(func), tuple(f_args or ()), dict(f_kwargs or {}), return_pandas_df)
        template, refs = pack(call)
        if num_returns == 1:
            return submit(tasks.call, 1, template, *refs)
        *results, outlines = submit(tasks.call_for_many, num_returns + 1, template, *refs)
        remember(results, outlines)
        return results

    @staticmethod
    def sendable(func: Any) -> ShippedFunction | millpond.ObjectRef[Any]:
        """Return what stands for ``func``, a function or what `put` returned, in a task."""
        if isinstance(func, (ShippedFunction, millpond.ObjectRef)):
            return func
        session.ensure_started()
        return ship(func)

    @classmethod
    def is_future(cls, item: Any) -> bool:
        """Tell whether ``item`` has a value only after `materialize`."""
        return isinstance(item, _FUTURES)

    @classmethod
    def materialize(cls, future: Any) -> Any:
        """Return the value of a future, or of a list whose items may be futures, in one go.

        Raises:
            Exception: What the task of a future raised, as its original type.
        """
        if not isinstance(future, (list, tuple)):
            return cls.materialize([future])[0]
        refs = list(dict.fromkeys(ref for ref in map(_ref_of, future) if ref is not None))
        values = dict(zip(refs, millpond.get(refs), strict=True)) if refs else {}
        return [_value_of(item, values) for item in future]

    @classmethod
    def put(cls, data: Any, **_: Any) -> ShippedFunction | millpond.ObjectRef[Any]:
        """Make ``data`` available to workers, as it is now; functions in a form of their own."""
        session.ensure_started()
        return ship(data) if callable(data) else millpond.put(data)

    @classmethod
    def wait(cls, obj_ids: Any, num_returns: int | None = None) -> None:
        """Wait for futures without fetching them; by default for all of them."""
        items: Iterable[Any] = obj_ids if isinstance(obj_ids, (list, tuple)) else [obj_ids]
        refs = list(dict.fromkeys(ref for ref in map(_ref_of, items) if ref is not None))
        if refs:
            millpond.wait(refs, num_returns=min(num_returns or len(refs), len(refs)))


def _ref_of(item: Any) -> millpond.ObjectRef[Any] | None:
    if isinstance(item, Extent):
        return item.source
    return item if isinstance(item, millpond.ObjectRef) else None


def _value_of(item: Any, values: Mapping[millpond.ObjectRef[Any], Any]) -> Any:
    if isinstance(item, Extent):
        return item.selection.pick(values[item.source])
    if isinstance(item, ShippedFunction):
        return item.load()
    return values[item] if isinstance(item, millpond.ObjectRef) else item
