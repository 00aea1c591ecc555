"""The arguments of a call, from Python values to what travels with its task."""

from __future__ import annotations

from typing import Any

from ..owner.refs import ObjectRef
from ..owner.runtime import Runtime
from ..owner.tasks import PendingTask
from ..serialization.arguments import serialize_arguments

__all__ = ["attach_arguments"]


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
