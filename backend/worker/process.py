"""The life of a worker process, from the fork to the exit."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

from millpond.objectstore.mapping import ArenaMapping
from millpond.scheduler.resources import UNIT

from ..owner.current import set_runtime
from ..owner.runtime import Runtime
from ..wire import messages as m
from .executor import Executor
from .output import TaskOutput
from .peak_memory import TaskMemory, record_path

__all__ = ["run_worker"]


def run_worker(
    worker_id: bytes, settings: m.Start, arena_fd: int, streams: tuple[TaskOutput, TaskOutput]
) -> None:
    """Serve tasks until the node says to exit.

    Args:
        worker_id: this process's id.
        settings: of the session.
        arena_fd: the arena's descriptor, inherited.
        streams: stdout and stderr, inherited.
    """
    _go_first()
    sys.setswitchinterval(0.001)  # the I/O thread must answer while a task computes
    mapping = ArenaMapping(arena_fd, settings.object_store_memory)
    runtime = Runtime(
        worker_id, settings.session_dir, mapping, "worker", validate=settings.validate
    )
    runtime.resources = settings.resources
    runtime.task_memory = settings.resources["memory"] // UNIT
    memory = TaskMemory(record_path(settings.session_dir, worker_id))
    memory.watch_imports()
    executor = Executor(runtime, *streams, memory)
    runtime.before_wait = executor.before_wait
    runtime.after_wait = executor.after_wait
    runtime.on_node_gone = executor.exit_now
    runtime.handlers.update(executor.handlers)
    set_runtime(runtime)
    node = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    node.connect(f"{settings.session_dir}/node.sock")
    connection = runtime.reactor.adopt(node)
    runtime.start(connection)
    runtime.reactor.start()
    connection.send(runtime.hello())
    executor.run()
    runtime.close()


def _go_first() -> None:
    """Have the kernel, where it runs out of memory, kill a worker before the driver or the node."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
