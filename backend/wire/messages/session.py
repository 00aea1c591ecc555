"""Who speaks on a connection, and how a session begins, goes on and ends."""

from __future__ import annotations

import msgspec

from .cluster import ClusterSettings

__all__ = [
    "Exit",
    "GetStatistics",
    "Hello",
    "KillWorkerOf",
    "LogLines",
    "NodeStatistics",
    "Preload",
    "ProcessDied",
    "SessionMessage",
    "Shutdown",
    "ShutdownDone",
    "SpillSettings",
    "Start",
    "Started",
]


class Hello(msgspec.Struct, array_like=True, tag=1):
    """Opens every connection, from both sides."""

    protocol: int
    process_id: bytes
    role: str
    pid: int


class KillWorkerOf(msgspec.Struct, array_like=True, tag=64):
    """Kill the worker that runs a task (forced cancel)."""

    worker_id: bytes


class ProcessDied(msgspec.Struct, array_like=True, tag=65):
    """Node to its processes: a process of the session is gone."""

    process_id: bytes


class Exit(msgspec.Struct, array_like=True, tag=66):
    """Node to worker: finish what is queued (or not even that), flush, exit."""

    now: bool = False
    #: stay until nobody holds an object that the worker owns
    when_free: bool = False


class LogLines(msgspec.Struct, array_like=True, omit_defaults=True, tag=67):
    """What a process printed: worker to node, node to drivers."""

    pid: int
    stream: int
    name: str
    text: str
    #: id of the node, if it is not the driver's
    node: str = ""


class SpillSettings(msgspec.Struct, array_like=True):
    """Where and how the node spills: `millpond.SpillOptions`, checked."""

    #: empty, without a URI: the session's directory
    directories: list[str]
    uri: str
    compression: str | None
    quota: int | None
    free_space_floor: int | None
    disk_full_timeout: float
    read_timeout: float
    page_cache: int | None


class Start(msgspec.Struct, array_like=True, tag=70):
    """Driver to node, first message: the settings."""

    session_dir: str
    object_store_memory: int
    #: None: never
    spill: SpillSettings | None
    resources: dict[str, int]
    preload: list[str]
    #: workers should also have what the session's code turns out to import
    follow_imports: bool
    sys_path: list[str]
    node_id: bytes
    #: the starter is a driver; else nobody but other nodes uses this one
    has_driver: bool
    #: the node ends with its starter
    lifeline: bool
    max_workers: int
    validate: bool
    #: bytes of heap that tasks may use together, None: no limit but the machine's
    task_memory: int | None = None
    #: part of the machine's memory at which tasks are stopped
    memory_threshold: float = 1.0
    #: None: nobody can join this node, and it joins nobody
    cluster: ClusterSettings | None = None


class Started(msgspec.Struct, array_like=True, tag=71):
    """Node to driver: it runs, and here is the arena's descriptor; or why it cannot."""

    error: str = ""
    #: the error is one of the spill directory's
    no_space: bool = False


class Shutdown(msgspec.Struct, array_like=True, tag=72):
    """Driver to node: end the session; answered by `ShutdownDone`."""


class ShutdownDone(msgspec.Struct, array_like=True, tag=73):
    """Answers Shutdown, when nothing of the session is left but the node."""


class GetStatistics(msgspec.Struct, array_like=True, tag=74):
    """Asks a node for its counts; answered by `NodeStatistics`."""

    request: int


class NodeStatistics(msgspec.Struct, array_like=True, tag=75):
    """Answers GetStatistics."""

    request: int
    store: dict[str, int]
    pids: list[int]
    workers: int
    #: workers killed before memory ran out
    memory_kills: int = 0
    #: of the spill storage; None without one
    spill: dict[str, int] | None = None
    #: bytes of objects that went to and came from other nodes
    sent: int = 0
    received: int = 0


class Preload(msgspec.Struct, array_like=True, tag=76):
    """Modules that workers forked from now on should have imported."""

    modules: list[str]


SessionMessage = (
    Hello
    | KillWorkerOf
    | ProcessDied
    | Exit
    | LogLines
    | Start
    | Started
    | Shutdown
    | ShutdownDone
    | GetStatistics
    | NodeStatistics
    | Preload
)
