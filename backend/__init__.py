"""millpond: tasks and actors with memory-aware scheduling and a spilling shared-memory store."""

from . import errors
from .api.objects import Statistics, cancel, get, kill, preload, put, statistics, wait
from .api.remote import ActorHandle, RemoteFunction, remote
from .api.session import Context, init, is_initialized, is_worker, shutdown
from .errors import (
    ActorDiedError,
    MillpondError,
    ObjectLostError,
    TaskCancelledError,
    TaskError,
    WorkerCrashedError,
)
from .owner.refs import ObjectRef

__all__ = [
    "ActorDiedError",
    "ActorHandle",
    "Context",
    "MillpondError",
    "ObjectLostError",
    "ObjectRef",
    "RemoteFunction",
    "Statistics",
    "TaskCancelledError",
    "TaskError",
    "WorkerCrashedError",
    "cancel",
    "errors",
    "get",
    "init",
    "is_initialized",
    "is_worker",
    "kill",
    "preload",
    "put",
    "remote",
    "shutdown",
    "statistics",
    "wait",
]

__version__ = "0.1.0"
