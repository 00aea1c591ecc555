"""Where a graph's annotations are, and how to keep them until the tasks exist.

Layers of high-level graphs have annotations, but the last step of optimizing arrays and bags
(linear fusion) throws the layers away. So a graph with annotations is materialised without that
step, which is done here instead, between tasks of equal annotations only. Frames have no
layers: only what surrounds ``compute`` applies to them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dask
from dask._expr import HLGExpr, _AnnotationsTombstone, _HLGExprSequence
from dask._task_spec import GraphNode, convert_legacy_graph, fuse_linear_task_spec
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key
from dask.utils import ensure_dict

from .graph import materialize
from .hints import HINT_NAMES, NO_HINTS, Hints, make_hints

__all__ = ["ambient_hints", "materialize_annotated"]

#: settings with which Dask's optimizer of arrays keeps the layers, and their annotations apart
_LAYERS_ONLY = {"optimization.fuse.active": False, "optimization.annotations.fuse": False}
#: Dask's settings are one per process
_fusion_lock = threading.RLock()


def ambient_hints(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotations that surround this call, the call's own keywords among them."""
    given = {**dask.get_annotations(), **keywords}
    return {
        name: value for name, value in given.items() if name in HINT_NAMES and value is not None
    }


def materialize_annotated(
    dsk: Any, ambient: Mapping[str, Any]
) -> tuple[dict[Key, GraphNode], Callable[[Key], Hints]]:
    """Return the low-level graph, and the hints of each of its keys.

    Args:
        dsk: what Dask hands over.
        ambient: annotations of all tasks, which those of a layer override.

    Raises:
        TypeError: an annotation is of a wrong type.
        ValueError: an annotation makes no sense.
    """
    hints_of = _Resolver(ambient)
    parts = _layered_parts(dsk)
    if not any(_has_hints(part) for part in parts):
        return materialize(dsk), hints_of
    nodes: dict[Key, GraphNode] = {}
    for part in parts:
        nodes |= _materialize_part(part, hints_of)
    return nodes, hints_of


class _Resolver:
    """Hints by key."""

    def __init__(self, ambient: Mapping[str, Any]) -> None:
        self._ambient = ambient
        self._hints: dict[Key, Hints] = {}
        #: annotations may differ by key
        self._varies = any(callable(value) for value in ambient.values())
        self._default = NO_HINTS if self._varies or not ambient else make_hints(ambient)

    def __call__(self, key: Key) -> Hints:
        hints = self._hints.get(key)
        if hints is not None:
            return hints
        return self.resolve(key, {}) if self._varies else self._default

    def resolve(self, key: Key, annotations: Mapping[str, Any]) -> Hints:
        """Note what a layer says about one of its keys."""
        given = dict(self._ambient)
        for name, value in annotations.items():
            said = value(key) if callable(value) else value
            if not isinstance(said, _AnnotationsTombstone):  # Dask's mark for "nothing"
                given[name] = said
        hints = make_hints({n: v(key) if callable(v) else v for n, v in given.items()})
        self._hints[key] = hints
        return hints

    def note(self, keys: Iterable[Key], hints: Hints) -> None:
        for key in keys:
            self._hints[key] = hints


def _layered_parts(dsk: Any) -> list[Any]:
    """Return the parts of an expression when all of them are made of layers, else nothing."""
    if isinstance(dsk, HighLevelGraph):
        return [HLGExpr(dsk=dsk)]
    parts = list(dsk.operands) if isinstance(dsk, _HLGExprSequence) else [dsk]
    return parts if all(isinstance(part, HLGExpr) for part in parts) else []


def _has_hints(part: Any) -> bool:
    # A finalizer makes its own layer only now: what surrounds this call is no layer's annotation.
    while isinstance(part, HLGExpr):
        part = part.operand("dsk")
    return isinstance(part, HighLevelGraph) and any(map(_hints_of_layer, part.layers.values()))


def _hints_of_layer(layer: Any) -> dict[str, Any]:
    annotations = layer.annotations or {}
    return {name: value for name, value in annotations.items() if name in HINT_NAMES}


def _materialize_part(part: Any, hints_of: _Resolver) -> dict[Key, GraphNode]:
    keys = list(flatten(part.__dask_keys__()))
    raw = part.hlg
    optimizer = part.low_level_optimizer
    library = getattr(optimizer, "__module__", None) or ""
    fuses = not library.startswith("dask.delayed") and optimizer is not None
    is_bag = library.startswith("dask.bag")  # its optimizer fuses whatever the settings say
    graph = raw
    if fuses and not is_bag:
        with _fusion_lock:
            before = dask.config.get("optimization.fuse.active")
            with dask.config.set(_LAYERS_ONLY):
                graph = optimizer(raw, keys)
        fuses = before is not False
    for layered in (raw, graph):
        if isinstance(layered, HighLevelGraph):
            _note_layers(layered, hints_of)
    nodes: dict[Key, GraphNode] = convert_legacy_graph(ensure_dict(graph))
    if fuses:
        nodes = _fuse_equal(nodes, keys, hints_of)
    if is_bag:
        from dask.bag.core import lazify

        nodes = lazify(nodes)
    elif fuses:
        from dask.array.optimization import _optimize_slices

        nodes = _optimize_slices(nodes)
    return nodes


def _note_layers(graph: HighLevelGraph, hints_of: _Resolver) -> None:
    for layer in graph.layers.values():
        annotations = _hints_of_layer(layer)
        if annotations:
            for key in layer.get_output_keys():
                hints_of.resolve(key, annotations)


def _fuse_equal(
    nodes: dict[Key, GraphNode], keys: list[Key], hints_of: _Resolver
) -> dict[Key, GraphNode]:
    """Fuse linear chains of tasks that have the same hints."""
    groups: dict[Hints, dict[Key, GraphNode]] = {}
    for key, node in nodes.items():
        groups.setdefault(hints_of(key), {})[key] = node
    needed_elsewhere = {
        name
        for hints, group in groups.items()
        for node in group.values()
        for name in node.dependencies
        if hints_of(name) != hints
    }
    fused: dict[Key, GraphNode] = {}
    for hints, group in groups.items():
        made = fuse_linear_task_spec(group, [*keys, *needed_elsewhere])
        hints_of.note(made, hints)
        fused |= made
    return fused
