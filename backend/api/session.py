"""Starting and stopping the engine in a driver: `init`, `shutdown`, and what runs between.

A driver starts one node process, which starts everything else. The socket between them is the
node's lifeline: however the driver ends, the node sees it close, ends its children, and
removes every file.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from millpond.objectstore.mapping import ArenaMapping
from millpond.scheduler.resources import quantity

from ..errors import ConfigurationError, NotInitializedError
from ..owner.current import current_runtime, find_runtime, is_forked_child, set_runtime
from ..owner.heavy_imports import HeavyImports
from ..owner.refs import ObjectRef
from ..owner.runtime import Runtime
from ..wire import messages as m
from ..wire.ids import driver_of
from ..wire.messages.cluster import ClusterSettings
from .log_printer import LogPrinter
from .node_process import NodeProcess
from .settings import Settings
from .spill_options import SpillOptions

__all__ = [
    "Context",
    "connected_runtime",
    "context",
    "init",
    "is_initialized",
    "is_worker",
    "shutdown",
]

#: seconds after which a node that does not end by itself is killed
_PATIENCE = 5.0
#: the same for one that has remote objects to delete
_REMOTE_PATIENCE = 60.0

_lock = threading.RLock()
_session: Session | None = None


class Context:
    """A running session, as `init` and `context` return it; ends the session as a ``with`` block.

    Attributes:
        num_cpus: tasks that run side by side.
        resources: everything tasks can ask for, name -> amount.
        object_store_memory: bytes of the object store.
    """

    def __init__(self, resources: Mapping[str, int], object_store_memory: int) -> None:
        self.resources = {name: quantity(counted) for name, counted in resources.items()}
        self.num_cpus = self.resources["CPU"]
        self.object_store_memory = object_store_memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutdown()

    def __repr__(self) -> str:
        return (
            f"Context(num_cpus={self.num_cpus:g}, object_store_memory={self.object_store_memory})"
        )


class Session:
    """The driver's side of one run of the engine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.context = Context(settings.counted_resources(), settings.object_store_memory)
        heavy_imports = HeavyImports(follow=settings.preload is None)
        self.node = NodeProcess(
            settings,
            heavy_imports.met() if settings.preload is None else [],
            has_driver=True,
            cluster=_cluster_to_join(settings),
        )
        mapping = ArenaMapping(self.node.arena_fds, settings.object_store_memory)
        self.node.close_arena()
        self.runtime = Runtime(
            self.node.directory, mapping, "driver", heavy_imports, validate=self.node.validate
        )
        self.runtime.resources = settings.counted_resources()
        self.runtime.task_memory = settings.task_memory()
        self._printer = LogPrinter(enabled=settings.log_to_driver)
        self._stopped = threading.Event()
        self.runtime.handlers[m.LogLines] = self._printer.on_lines
        self.runtime.handlers[m.ShutdownDone] = lambda *_: self._stopped.set()
        self.runtime.on_node_gone = self._stopped.set
        self.runtime.start(driver_of(self.node.node_id), self.node.connection)
        if settings.runtime_env is not None:
            try:
                self.runtime.environments.inherit(settings.runtime_env)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End everything this session started."""
        runtime = self.runtime
        spill = self.settings.spill
        patience = _REMOTE_PATIENCE if spill is not False and spill.uri else _PATIENCE
        runtime.closing = True
        if not runtime.node.closed:
            runtime.node.send(m.Shutdown())
            self._stopped.wait(patience)
        runtime.close()
        self._printer.close()
        self.node.wait(_PATIENCE)


def _cluster_to_join(settings: Settings) -> ClusterSettings | None:
    if settings.address is None:
        return None
    from .joining import join_settings

    return join_settings(settings.address)


def init(
    *,
    address: str | None = None,
    num_cpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    object_store_memory: int | None = None,
    spill: SpillOptions
    | str
    | os.PathLike[str]
    | Iterable[str | os.PathLike[str]]
    | Literal[False]
    | None = None,
    preload: Iterable[str] | None = None,
    log_to_driver: bool | None = None,
    memory: int | None = None,
    memory_threshold: float | None = None,
    runtime_env: Mapping[str, Any] | None = None,
) -> Context:
    """Start the engine on this machine, and join a cluster if there is one to join.

    Called at first use if you do not.

    A second call returns the same context; only settings given again must be the same.

    Args:
        address: host:port of a cluster's head, or "auto" for the cluster that this machine is part
            of (``MILLPOND_ADDRESS``; else this machine alone). The cluster's token is read from
            ``MILLPOND_TOKEN``, or found where a node of yours runs on this machine.
        num_cpus: tasks that run side by side on this machine (the CPUs this process may use).
        resources: custom resources that tasks can ask for, name -> amount.
        object_store_memory: bytes of shared memory for objects (30 % of the machine's).
            Never exceeded: what does not fit is spilled.
        spill: where objects go that do not fit: a directory (one of the session's own, below the
            temporary directory), several, used in turns, or a URI such as
            ``s3://bucket/prefix``; `SpillOptions` to say more; False to never spill.
        preload: modules that workers have imported beforehand (numpy, pandas and pyarrow, each once
            the driver or a task has imported it).
        log_to_driver: show what tasks print (yes).
        memory: bytes of heap that all tasks and actors together may use; enforced (what the machine
            has beside the object store and a reserve; then only the machine's limit is enforced).
        memory_threshold: part of the memory of the machine, or of the container this runs in, at
            which a task is stopped before the kernel kills something (0.95).
        runtime_env: what tasks and actors find in their processes, on every machine: a dict with
            ``env_vars``, a dict of environment variables; ``working_dir``, a directory of which
            they run in a copy, without what ``excludes`` says; ``py_modules``, modules and packages
            that they can import. The guide on environments tells more.

    Raises:
        ClusterError: the cluster cannot be joined; the subclasses say why.
        ConfigurationError: a setting is wrong, or other than those of the running session.
        OutOfDiskError: the spill directory is full.
        RuntimeEnvError: ``runtime_env`` is wrong, or its files cannot be sent.
        NotInitializedError: this is a forked child of a process that runs the engine.
    """
    global _session
    with _lock:
        running = context()
        if running is not None and is_worker():
            return running
        if is_forked_child():
            current_runtime()  # explains
        given = {
            "address": address,
            "num_cpus": num_cpus,
            "resources": resources,
            "object_store_memory": object_store_memory,
            "spill": spill,
            "preload": preload,
            "log_to_driver": log_to_driver,
            "memory": memory,
            "memory_threshold": memory_threshold,
            "runtime_env": runtime_env,
        }
        settings = Settings.checked(
            num_cpus,
            resources,
            object_store_memory,
            spill,
            preload,
            log_to_driver=log_to_driver is not False,
            memory=memory,
            memory_threshold=memory_threshold,
            address=address,
            runtime_env=runtime_env,
        )
        if _session is not None:
            other = _difference(_session.settings, settings, given)
            if other:
                raise ConfigurationError(
                    f"millpond is already running with other settings: {other}. "
                    "Call millpond.shutdown() first"
                )
            return _session.context
        _session = Session(settings)
        set_runtime(_session.runtime)
        return _session.context


def _difference(old: Settings, new: Settings, given: Mapping[str, object]) -> str:
    names = [
        name
        for name, value in given.items()
        if value is not None and getattr(old, name) != getattr(new, name)
    ]
    return ", ".join(f"{name}={getattr(old, name)!r}, not {getattr(new, name)!r}" for name in names)


def context() -> Context | None:
    """Return the running session, or None. The same object for as long as the session runs."""
    running = find_runtime()
    if running is None:
        return None
    if running.role == "worker":
        return Context(running.resources, running.mapping.capacity)
    return _session.context if _session is not None else None


def shutdown() -> None:
    """Stop the engine and everything it started. Values still held as arrays stay valid.

    Does nothing when it does not run, or inside a task.
    """
    global _session
    with _lock:
        session, running = _session, find_runtime()
        if session is None or running is not session.runtime:
            return
        _session = None
        set_runtime(None)
        session.stop()


atexit.register(shutdown)


def is_initialized() -> bool:
    """Whether the engine runs for this process (a driver or a worker)."""
    return find_runtime() is not None


def is_worker() -> bool:
    """Whether this code runs inside a task or an actor."""
    running = find_runtime()
    return running is not None and running.role == "worker"


def connected_runtime(holder: ObjectRef[Any] | None = None) -> Runtime:
    """Return this process's runtime, starting the engine with its defaults if need be.

    Args:
        holder: a ref that the runtime is to be used with. Where there is one and no runtime, its
            session is over: none is started for it.

    Raises:
        NotInitializedError: this is a forked child of a process that runs the engine, or
            ``holder`` is from a session that was shut down.
    """
    running = find_runtime()
    if running is None:
        if holder is None and not is_forked_child():
            init()
        running = current_runtime(holder)
    if running.closed:
        raise NotInitializedError("millpond is being shut down")
    return running
