"""millpond: tasks and actors with memory-aware scheduling and a spilling shared-memory store."""

from . import errors
from .adapters.import_hooks import install as _install_import_hooks
from .api.actors import ActorHandle
from .api.cluster import Node, cluster_resources, nodes, open_port
from .api.memory import MemoryReport, memory
from .api.named_actors import get_actor, named_actors
from .api.objects import Statistics, cancel, get, kill, preload, put, statistics, wait
from .api.remote import RemoteFunction, remote
from .api.session import Context, context, init, is_initialized, is_worker, shutdown
from .api.spill_options import SpillOptions
from .errors import (
    ActorDiedError,
    ActorNameTakenError,
    ActorNotFoundError,
    ActorUnavailableError,
    MillpondError,
    ObjectLostError,
    ObjectStoreWarning,
    OutOfMemoryError,
    TaskCancelledError,
    TaskError,
    WorkerCrashedError,
)
from .node.cgroup import available_memory
from .owner.refs import ObjectRef

__all__ = [
    "ActorDiedError",
    "ActorHandle",
    "ActorNameTakenError",
    "ActorNotFoundError",
    "ActorUnavailableError",
    "Context",
    "MemoryReport",
    "MillpondError",
    "Node",
    "ObjectLostError",
    "ObjectRef",
    "ObjectStoreWarning",
    "OutOfMemoryError",
    "RemoteFunction",
    "SpillOptions",
    "Statistics",
    "TaskCancelledError",
    "TaskError",
    "WorkerCrashedError",
    "available_memory",
    "cancel",
    "cluster_resources",
    "context",
    "errors",
    "get",
    "get_actor",
    "init",
    "is_initialized",
    "is_worker",
    "kill",
    "memory",
    "named_actors",
    "nodes",
    "open_port",
    "preload",
    "put",
    "remote",
    "shutdown",
    "statistics",
    "wait",
]

__version__ = "0.1.0"

_install_import_hooks()
