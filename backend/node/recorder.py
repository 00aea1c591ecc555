"""Records what is asked of the node's store and queue, for replays of evictions (off by default).

Set ``MILLPOND_TRACE`` to the name of a file before the engine starts: at the end the file holds one
JSON array a line: ``["submit", task, returns, arguments]``, ``["create", objects, sizes]``,
``["finish", task]`` and ``["delete", objects]``, with ids in hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..wire import messages as m

__all__ = ["VARIABLE", "recording"]

#: the environment variable that switches it on
VARIABLE = "MILLPOND_TRACE"


def recording(path: str, handle: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Return a handler of messages that notes each in a file, and then does what ``handle`` does.

    Args:
        path: of the file, which is made anew.
        handle: serves a message of a connection.

    Raises:
        OSError: the file cannot be written.
    """
    file = Path(path).open("w", buffering=1)  # noqa: SIM115 - open as long as the node runs

    def record(peer: Any, message: Any) -> None:
        line = _line(message)
        if line is not None:
            file.write(json.dumps(line) + "\n")
        handle(peer, message)

    return record


def _line(message: Any) -> list[object] | None:
    match message:
        case m.SubmitTask(task=task):
            stored = [a.object_id.hex() for a in task.arguments if a.value.kind == m.STORED]
            return ["submit", task.task_id.hex(), task.num_returns, stored]
        case m.CreateObjects(object_ids=ids, sizes=sizes):
            return ["create", [object_id.hex() for object_id in ids], sizes]
        case m.TaskFinished(task_id=task_id):
            return ["finish", task_id.hex()]
        case m.DeleteObjects(object_ids=ids):
            return ["delete", [object_id.hex() for object_id in ids]]
    return None
