"""What can never run any more, because this process's node has lost its cluster.

Nobody can join a node that was a member of a cluster whose head is gone. So what needs more of a
resource than this node has fails, whenever it was submitted, instead of waiting for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ResourceError
from ..serialization.exceptions import serialize_error
from ..wire import messages as m

if TYPE_CHECKING:
    from ..wire.channel import Channel
    from .runtime import Runtime
    from .tasks import PendingTask

__all__ = ["Alone"]


class Alone:
    """What one process knows of it. Methods are called under the runtime's lock."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        #: once the cluster is lost
        self._told: m.Alone | None = None
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {m.Alone: self._on_alone}

    def refusal(self, task: PendingTask) -> bytes:
        """Return the serialized error of a task that can never run; empty if it can."""
        why = "" if self._told is None else self._told.forbids(task.shape)
        if not why:
            return b""
        text = f"task {task.name} ({task.task_id.hex()}) cannot run any more: {why}"
        return serialize_error(ResourceError(text))

    def _on_alone(self, _: Channel, message: m.Alone) -> None:
        with self._runtime.lock:
            self._told = message
            self._runtime.submission.refuse(self.refusal)
            self._runtime.submission.dispatch()
