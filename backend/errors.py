"""Every exception that millpond raises, on one page.

All of them are picklable: an error may cross several processes before the caller sees it.
An exception raised by *user* code is not wrapped: ``get`` raises the original object, with a
`RemoteTraceback` as its ``__cause__``. Not covered here: how errors travel
(``serialization.exceptions``).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ActorDiedError",
    "ActorNameTakenError",
    "ActorNotFoundError",
    "ActorUnavailableError",
    "AuthenticationError",
    "CertificateError",
    "ClusterError",
    "ConfigurationError",
    "DuplicateNodeError",
    "GetTimeoutError",
    "HeadUnreachableError",
    "MillpondError",
    "NodeDiedError",
    "NotInitializedError",
    "ObjectLostError",
    "ObjectStoreFullError",
    "ObjectStoreWarning",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PortError",
    "ProtocolError",
    "RemoteTraceback",
    "ResourceError",
    "RuntimeEnvError",
    "RuntimeEnvSetupError",
    "SerializationError",
    "SessionNotFoundError",
    "SpillUnavailableError",
    "TaskCancelledError",
    "TaskError",
    "VersionMismatchError",
    "WorkerCrashedError",
]


class MillpondError(Exception):
    """Root of all errors of the engine."""


class NotInitializedError(MillpondError, RuntimeError):
    """The engine is not running in this process (never started, shut down, or forked away)."""


class ConfigurationError(MillpondError, ValueError):
    """A setting given to `millpond.init` is wrong; the text says which, with its value."""


class SessionNotFoundError(MillpondError, LookupError):
    """The command ``millpond`` finds no running session, or several and none was chosen."""


class ResourceError(MillpondError, ValueError):
    """A resource request that is malformed, or that no node can ever satisfy."""


class RuntimeEnvError(MillpondError, ValueError):
    """A ``runtime_env`` is wrong, or its files cannot be sent; the text says why."""


class RuntimeEnvSetupError(MillpondError):
    """A worker could not set up the ``runtime_env`` of a task; the text says where and why."""


class SerializationError(MillpondError, TypeError):
    """A function, argument or result cannot be pickled; the text gives the path to it."""


class TaskError(MillpondError):
    """A task failed with an exception that could not itself be pickled; carries its text."""


class TaskCancelledError(MillpondError):
    """The task was cancelled before it produced a result."""


class WorkerCrashedError(MillpondError):
    """The worker process died (exit, signal) while running the task, retries included."""


class ActorDiedError(MillpondError):
    """The actor is gone: killed, crashed, or its constructor raised."""


class ActorUnavailableError(ActorDiedError):
    """The process of the actor was lost during the call, but the actor is being started again."""


class ActorNotFoundError(MillpondError, ValueError):
    """No actor has this name (any more); the text lists names that are like it."""


class ActorNameTakenError(MillpondError, ValueError):
    """Another actor has this name already."""


class ObjectLostError(MillpondError):
    """The bytes of an object are gone and cannot be rebuilt; the text says why for both."""


class SpillUnavailableError(MillpondError, OSError):
    """A spilled value cannot be read now: where it is kept does not answer; the text says where.

    The value is not lost: using the ref again tries it again.
    """


class OwnerDiedError(ObjectLostError):
    """The process that owned an object died, and the object with it."""


class ObjectStoreFullError(MillpondError):
    """No room can be made in the object store; the text lists who holds it.

    Attributes:
        requested_bytes: of the objects that were refused.
        used_bytes: bytes taken in the store.
        capacity: bytes of the store.
        holders: its largest objects, as in the report of `millpond.memory`.
    """

    requested_bytes: int = 0
    used_bytes: int = 0
    capacity: int = 0
    holders: tuple[Any, ...] = ()


class OutOfDiskError(MillpondError, OSError):
    """The spill directory has no room left.

    Attributes:
        requested_bytes: of the objects that were refused.
        used_bytes: bytes taken in the store.
        capacity: bytes of the store.
        spill_location: where values are spilled.
        free_bytes: bytes free there; None where unknown.
        spilled_bytes: bytes that are spilled there now.
        waiting_bytes: bytes of all objects that wait for room, those refused included.
    """

    requested_bytes: int = 0
    used_bytes: int = 0
    capacity: int = 0
    spill_location: str | None = None
    free_bytes: int | None = None
    spilled_bytes: int = 0
    waiting_bytes: int = 0


class ObjectStoreWarning(UserWarning):
    """Something in the object store works, but not as well as it could."""


class OutOfMemoryError(MemoryError, MillpondError):  # this order: MemoryError makes instances
    """A task needs more heap memory than it declared, or than there is; the text says which."""


class GetTimeoutError(MillpondError, TimeoutError):
    """``get`` did not have the value within its timeout."""


class NodeDiedError(MillpondError):
    """The node process ended unexpectedly; every object and actor is gone with it."""


class ProtocolError(MillpondError):
    """A peer sent bytes that are not a message of this protocol version."""


class ClusterError(MillpondError):
    """A node cannot join a cluster, or open its port for others; the subclasses say why."""


class HeadUnreachableError(ClusterError, ConnectionError):
    """Nothing that speaks our protocol answers at the head's address."""


class AuthenticationError(ClusterError, PermissionError):
    """The cluster's token is missing or wrong."""


class CertificateError(ClusterError):
    """A certificate is not one of the cluster's, or not valid now; or one side uses no TLS."""


class VersionMismatchError(ClusterError):
    """The node and the cluster run different versions; the text names both."""


class DuplicateNodeError(ClusterError):
    """A node of this id is a member of the cluster already."""


class PortError(ClusterError, OSError):
    """A node cannot listen on the host and port that it was given."""


class RemoteTraceback(Exception):  # noqa: N818 - it is a carrier of text, never raised
    """The traceback of the worker, as text; the ``__cause__`` of a re-raised exception."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'
