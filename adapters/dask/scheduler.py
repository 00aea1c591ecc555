"""One computation: from what Dask hands over to the values it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import dask.config
from dask._task_spec import DataNode, GraphNode
from dask.typing import Key

from .finishing import take_finishing
from .following import Follower
from .graph import flat_keys, materialize, select
from .observation import Observation, active_callbacks
from .results import collect
from .submission import Submission
from .warned import TaskWarnings

__all__ = ["compute"]


def compute(
    dsk: Any, keys: Any, *, callbacks: Any = None, cache: Any = None, **_ignored: Any
) -> Any:
    """Do what `millpond.dask.get` promises."""
    nodes = _with_known(materialize(dsk), cache)
    requested = flat_keys(keys)
    active = active_callbacks(callbacks)
    with ExitStack() as stack:
        stack.enter_context(TaskWarnings())
        observation = stack.enter_context(Observation(active)) if active else None
        values = _compute(nodes, requested, observation)
    return _nested(keys, values)


def _with_known(nodes: dict[Key, GraphNode], cache: Any) -> dict[Key, GraphNode]:
    """Return the graph with the values that the caller (or Dask's configuration) has ready."""
    if cache is None:
        cache = dask.config.get("cache", None)
    if not isinstance(cache, Mapping):
        return nodes
    return {**{key: DataNode(key, value) for key, value in cache.items()}, **nodes}


def _compute(
    nodes: dict[Key, GraphNode], requested: list[Key], observation: Observation | None
) -> dict[Key, Any]:
    """Return the values of the requested keys."""
    if observation is not None:
        nodes = observation.start(nodes)
    graph = select(nodes, requested)
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

    with Submission(graph, wanted, grouped=not (observation and observation.wants_values)) as work:
        if observation is None:
            work.submit()
        else:
            follower = Follower(observation, work.units)
            work.submit(follower.submitted)
            follower.follow(work.refs.values())
        collect(work.refs, arrived)
    values.update(finishing.values)
    return {key: values[target] for key, target in targets.items()}


def _nested(keys: Any, values: dict[Key, Any]) -> Any:
    if isinstance(keys, list):
        return tuple([_nested(key, values) for key in keys])
    return values[keys]
