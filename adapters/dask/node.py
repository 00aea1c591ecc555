"""What runs in the workers: one call executes one unit.

Not covered: how the unit got here (``payload``, ``submission``).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from timeit import default_timer
from typing import Any

from dask._task_spec import GraphNode, Task, TaskRef, _execute_subgraph
from dask.typing import Key
from dask.utils import key_split

from millpond.errors import TaskCancelledError

from .copies import private_copy
from .payload import Work, inputs_of, loads, work_of
from .settings import apply_settings, copies_inputs
from .units import Unit
from .warned import Recording

__all__ = [
    "TASK_NOTE",
    "Times",
    "is_about_writing",
    "keep_times",
    "run_here",
    "run_node",
    "run_timed_node",
    "take_times",
    "try_call",
]

#: how an error says which task it is from
TASK_NOTE = "in the Dask task "

#: of each task in order, and of making the pieces (if there are any): begin and end in seconds of
#: `timeit.default_timer`, and the process; None for a task that did not end
Times = list[tuple[float, float, int] | None]
_TIMES = "_millpond_times"

#: prefixes of keys whose tasks write into their inputs: these get copies from the start
_writing: set[str] = set()
_MAX_WRITING = 1024


def run_node(settings: bytes, payload: bytes, *values: Any) -> Any:
    """Execute a unit.

    Args:
        settings: of `capture_settings`.
        payload: of `WorkPickler.dumps`.
        *values: of the names, then the lifted ones.

    Returns:
        The last task's result, or the list of its pieces; with the warnings that were given.
    """
    return _run(settings, payload, values, None)


def run_timed_node(settings: bytes, payload: bytes, *values: Any) -> Any:
    """Execute a unit as `run_node` does; return the list of its objects, and its `Times`.

    An error carries the times, for `take_times`.
    """
    moments: list[float] = []
    try:
        return _run(settings, payload, values, moments)
    except Exception as error:
        keep_times(error, _times_between(moments))
        raise


def _times_between(moments: list[float]) -> Times:
    """Return the times of tasks that ran one after the other."""
    process = os.getpid()
    return [(begin, end, process) for begin, end in pairwise(moments)]


def keep_times(error: Exception, times: Times) -> None:
    """Have an error carry the times of what ended before it."""
    error.__dict__[_TIMES] = times


def take_times(error: Exception) -> Times:
    """Return the times that an error carries, and remove them."""
    times: Times = error.__dict__.pop(_TIMES, [])
    return times


def _run(
    settings: bytes, payload: bytes, values: tuple[Any, ...], moments: list[float] | None
) -> Any:
    apply_settings(settings)
    work = loads(payload, values)
    with Recording() as recording:
        try:
            result = _execute_or_copy(work, payload, values, moments)
        except Exception as error:
            error.add_note(f"{TASK_NOTE}{work.calls[-1][0]!r}")
            raise
    several = len(work.pieces) > 1
    if moments is not None:
        result = [*(result if several else [result]), _times_between(moments)]
    return recording.attach_to(result, pieces=several or moments is not None)


def _execute_or_copy(
    work: Work, payload: bytes, values: tuple[Any, ...], moments: list[float] | None
) -> Any:
    """Execute the unit; if it writes into its inputs, with copies of them.

    Values in the store are shared and read-only. A task that writes into its input gets copies
    of its own, as it would have from a scheduler that moves values between processes.
    """
    prefix = key_split(work.calls[-1][0])
    if prefix not in _writing or not copies_inputs():
        try:
            return _execute(work, values, moments)
        except ValueError as error:
            if not (is_about_writing(error) and copies_inputs()):
                raise
    # Outside of the handler: what the task raises now has no other error as its context.
    copies = tuple([private_copy(value) for value in values])
    result = _execute(loads(payload, copies), copies, moments)
    if len(_writing) < _MAX_WRITING:
        _writing.add(prefix)
    return result


def is_about_writing(error: Exception) -> bool:
    """Whether a task tried to write into an input, which is read-only."""
    text = str(error) if isinstance(error, ValueError) else ""
    return "read-only" in text or "readonly" in text or "WRITEABLE" in text


def run_here(unit: Unit, known: dict[Key, Any]) -> tuple[list[Any], Times]:
    """Execute a unit in this process.

    Args:
        unit: the tasks.
        known: values of all its inputs, by the names that the tasks use.

    Returns:
        The objects it makes, as many as ``unit.outputs``, and when its tasks ran.
    """
    moments: list[float] = []
    try:
        result = _execute(work_of(unit, (), known), (), moments)
    except Exception as error:
        error.add_note(f"in the Dask task {unit.key!r}")
        raise
    return result if len(unit.outputs) > 1 else [result], _times_between(moments)


def _execute(work: Work, values: tuple[Any, ...], moments: list[float] | None) -> Any:
    """Execute the tasks on these values.

    In ``moments``, if given, it notes when the first began, when each ended, and when the pieces
    were made.
    """
    if moments is not None:
        moments[:] = [default_timer()]  # of the second try, if it is one
    known = dict(inputs_of(work.names, work.literals, work.bundled, values))
    previous = None
    result = None
    for key, function, arguments, keywords in work.calls:
        result = known[key] = try_call(work.retries, function, arguments, keywords, known)
        if moments is not None:
            moments.append(default_timer())
        if previous is not None:
            del known[previous]  # used by this task only
        previous = key
    if not work.pieces:
        return result
    pieces = [function(result, *arguments) for function, arguments in work.pieces]
    if moments is not None:
        moments.append(default_timer())
    return pieces if len(pieces) > 1 else pieces[0]  # one object is returned as itself


def try_call(
    retries: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: Mapping[str, Any],
    known: Mapping[Key, Any],
) -> Any:
    """Call a task's function, and again as often as its annotation says when it raises.

    Here and not by the engine, whose retries are for workers that die.
    """
    while retries:
        retries -= 1
        try:
            return _call(function, arguments, keywords, known)
        except TaskCancelledError:
            raise
        except Exception as error:
            if is_about_writing(error):
                raise  # it would every time
    return _call(function, arguments, keywords, known)


def _call(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: Mapping[str, Any],
    known: Mapping[Key, Any],
) -> Any:
    """Call a task's function with the values that its arguments stand for."""
    if function is _execute_subgraph:
        # Dask's own function computes a static order of the subgraph, at each execution.
        function = _run_subgraph
    values = [_value(argument, known) for argument in arguments]
    if not keywords:
        return function(*values)
    return function(*values, **{name: _value(arg, known) for name, arg in keywords.items()})


def _value(argument: Any, known: Mapping[Key, Any]) -> Any:
    if isinstance(argument, TaskRef):
        return known[argument.key]
    return _evaluate(argument, known) if isinstance(argument, GraphNode) else argument


def _evaluate(node: GraphNode, known: Mapping[Key, Any]) -> Any:
    if type(node) is Task:
        return _call(node.func, node.args, node.kwargs, known)
    # Dask compares all names with those that it needs.
    return node({name: known[name] for name in node.dependencies})


def _run_subgraph(
    inner: Mapping[Key, GraphNode], outkey: Key, inkeys: tuple[Key, ...], *dependencies: Any
) -> Any:
    """Execute a fused task: the inner tasks that ``outkey`` needs, dropping what was used."""
    known: dict[Key, Any] = dict(zip(inkeys, dependencies, strict=True))
    uses = Counter(name for task in inner.values() for name in task.dependencies)
    stack = [outkey]
    while stack:
        key = stack[-1]
        if key in known:
            stack.pop()
            continue
        task = inner[key]
        missing = [name for name in task.dependencies if name not in known]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        known[key] = _evaluate(task, known)
        for name in task.dependencies:
            uses[name] -= 1
            if not uses[name]:
                del known[name]
    return known[outkey]
