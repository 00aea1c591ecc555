"""Which runtime this process uses. A forked child has none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import NotInitializedError

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["current_runtime", "ended_session", "find_runtime", "is_forked_child", "set_runtime"]

_runtime: Runtime | None = None
_parent_pid: int = 0


def set_runtime(runtime: Runtime | None) -> None:
    """Make ``runtime`` the one of this process."""
    global _runtime, _parent_pid
    _runtime = runtime
    _parent_pid = 0


def find_runtime() -> Runtime | None:
    """Return the runtime of this process, if there is one."""
    return _runtime


def is_forked_child() -> bool:
    """Whether a parent of this process ran the engine when it forked."""
    return _parent_pid != 0


def ended_session(ref: object) -> NotInitializedError:
    """Return the error for the use of a ref that outlived its session."""
    return NotInitializedError(
        f"{ref!r} belongs to a session of millpond that was shut down; its value is gone"
    )


def current_runtime(ref: object = None) -> Runtime:
    """Return the runtime of this process.

    Args:
        ref: what it is to be used with, for the error.

    Raises:
        NotInitializedError: there is none, or it belongs to the parent of this forked process.
    """
    if _runtime is not None:
        return _runtime
    if _parent_pid:
        raise NotInitializedError(
            f"millpond was started by process {_parent_pid} and this is its forked child "
            f"{os.getpid()}: the engine cannot be used across fork(); pass values to the child "
            "instead, or start it with the 'spawn' method"
        )
    if ref is not None:
        raise ended_session(ref)
    raise NotInitializedError("millpond is not running in this process: call millpond.init()")


#: the parent's runtime in a forked child: never used, and never destroyed, since its threads
#: and sockets are the parent's
_inherited: Runtime | None = None


def _forked() -> None:
    global _runtime, _parent_pid, _inherited
    if _runtime is not None:
        _inherited, _runtime, _parent_pid = _runtime, None, os.getppid()


os.register_at_fork(after_in_child=_forked)
