"""The life of a worker process, from before the fork to the exit."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Sequence

from millpond.objectstore.mapping import ArenaMapping
from millpond.scheduler.resources import UNIT

from ..owner.current import set_runtime
from ..owner.heavy_imports import HeavyImports
from ..owner.runtime import Runtime
from ..wire import messages as m
from .executor import Executor
from .heap import keep_freed_memory
from .output import TaskOutput
from .peak_memory import TaskMemory, record_path

__all__ = ["prepare_worker"]


def prepare_worker(
    settings: m.Start, arena_fds: Sequence[int], streams: tuple[TaskOutput, TaskOutput]
) -> Callable[[bytes], None]:
    """Make all of a worker that workers can share, in the process that will fork them.

    Every page that a new process writes to costs it a page fault and a copy, and to run code for
    the first time writes to many: so as little as possible is left to do after the fork.

    Args:
        settings: of the session.
        arena_fds: the arena's descriptors, which workers inherit.
        streams: stdout and stderr, which they inherit.

    Returns:
        What a forked process calls with its process id, to serve tasks until the node says to exit.
    """
    keep_freed_memory()
    sys.setswitchinterval(0.001)  # the I/O thread must answer while a task computes
    mapping = ArenaMapping(arena_fds, settings.object_store_memory)
    heavy_imports = HeavyImports(follow=settings.follow_imports)
    runtime = Runtime(
        settings.session_dir, mapping, "worker", heavy_imports, validate=settings.validate
    )
    runtime.resources = settings.resources
    runtime.task_memory = settings.resources["memory"] // UNIT
    memory = TaskMemory()
    executor = Executor(runtime, *streams, memory)
    runtime.before_wait = executor.before_wait
    runtime.after_wait = executor.after_wait
    runtime.on_node_gone = executor.exit_now
    runtime.handlers.update(executor.handlers)

    def run_worker(worker_id: bytes) -> None:
        _go_first()
        memory.start(record_path(settings.session_dir, worker_id))
        memory.watch_imports()
        heavy_imports.met()  # came with the fork
        set_runtime(runtime)
        node = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        node.connect(f"{settings.session_dir}/node.sock")
        runtime.start(worker_id, node)
        executor.run()
        runtime.close()

    return run_worker


def _go_first() -> None:
    """Have the kernel, where it runs out of memory, kill a worker before the driver or the node."""
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"500")
        finally:
            os.close(fd)
