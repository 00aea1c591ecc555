"""Which runtime this process uses. A forked child has none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import NotInitializedError

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["current_runtime", "find_runtime", "set_runtime"]

_runtime: Runtime | None = None
_pid: int = 0


def set_runtime(runtime: Runtime | None) -> None:
    """Make ``runtime`` the one of this process."""
    global _runtime, _pid
    _runtime = runtime
    _pid = os.getpid()


def find_runtime() -> Runtime | None:
    """Return the runtime of this process, if there is one."""
    return _runtime if _pid == os.getpid() else None


def current_runtime() -> Runtime:
    """Return the runtime of this process.

    Raises:
        NotInitializedError: there is none, or it belongs to the parent of this forked process.
    """
    if _runtime is None:
        raise NotInitializedError("millpond is not running in this process: call millpond.init()")
    if _pid != os.getpid():
        raise NotInitializedError(
            f"millpond was started by process {_pid} and this is its forked child {os.getpid()}: "
            "the engine cannot be used across fork(); pass values to the child instead, or "
            "start it with the 'spawn' method"
        )
    return _runtime
