"""One computation: from what Dask hands over to the values it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import dask.config
from dask._task_spec import DataNode, GraphNode
from dask.typing import Key

from millpond.errors import SerializationError

from .annotations import ambient_hints, materialize_annotated
from .driver import is_of_batch, unpicklable_result
from .finishing import take_finishing
from .following import Follower
from .graph import flat_keys, select
from .hints import Hints
from .observation import Observation, active_callbacks
from .rerunning import rerun_here
from .results import collect
from .room import Room
from .submission import Submission
from .tracebacks import keeping_nothing
from .warned import TaskWarnings

__all__ = ["compute"]


@keeping_nothing
def compute(
    dsk: Any,
    keys: Any,
    *,
    callbacks: Any = None,
    cache: Any = None,
    rerun_exceptions_locally: bool | None = None,
    **keywords: Any,
) -> Any:
    """Do what `millpond.dask.get` promises."""
    nodes, hints_of = materialize_annotated(dsk, ambient_hints(keywords))
    nodes = _with_known(nodes, cache)
    requested = flat_keys(keys)
    active = active_callbacks(callbacks)
    rerun = rerun_exceptions_locally
    if rerun is None:
        rerun = dask.config.get("rerun_exceptions_locally", False)
    with ExitStack() as stack:
        stack.enter_context(TaskWarnings())
        observation = stack.enter_context(Observation(active)) if active else None
        if observation is not None:
            nodes = observation.start(nodes)
        values = None
        batched = True
        while values is None:
            try:
                values = _compute(nodes, requested, hints_of, observation, batched=batched)
            except SerializationError as error:
                if is_of_batch(error):
                    batched = False
                elif not unpicklable_result(error):
                    raise
            except Exception as error:
                if rerun:
                    rerun_here(
                        error,
                        nodes,
                        lambda needed: _compute(nodes, needed, hints_of, batched=False),
                    )
                raise
    return _nested(keys, values)


def _with_known(nodes: dict[Key, GraphNode], cache: Any) -> dict[Key, GraphNode]:
    """Return the graph with the values that the caller (or Dask's configuration) has ready."""
    if cache is None:
        cache = dask.config.get("cache", None)
    if not isinstance(cache, Mapping):
        return nodes
    return {**{key: DataNode(key, value) for key, value in cache.items()}, **nodes}


def _compute(
    nodes: dict[Key, GraphNode],
    requested: list[Key],
    hints_of: Callable[[Key], Hints],
    observation: Observation | None = None,
    *,
    batched: bool,
) -> dict[Key, Any]:
    """Return the values of the requested keys."""
    graph = select(nodes, requested, hints_of)
    if observation is not None:
        observation.begin(graph)
    finishing = take_finishing(graph, requested, observation)
    targets = {key: graph.resolve(key) for key in requested}
    asked = {key for key in targets.values() if key in graph.tasks or key in graph.refs}
    wanted = asked | finishing.needs
    values: dict[Key, Any] = dict(graph.literals)

    def arrived(key: Key, value: Any) -> None:
        if key in asked:
            values[key] = value
        finishing.arrived(key, value)

    # Whoever uses results is told each task's: none may stay inside a call.
    grouped = not (observation and observation.wants_values)
    with Submission(graph, wanted, grouped=grouped, batched=batched and grouped) as work:
        if observation is None:
            work.submit()
        else:
            follower = Follower(observation)
            work.submit(follower.submitted)
            follower.follow(work.refs.values())
        for key, value in work.values.items():
            arrived(key, value)
        collect(work.refs, arrived, work.items, work.learn, Room(finishing.needs))
    values.update(finishing.values)
    return {key: values[target] for key, target in targets.items()}


def _nested(keys: Any, values: dict[Key, Any]) -> Any:
    if isinstance(keys, list):
        return tuple([_nested(key, values) for key in keys])
    return values[keys]
