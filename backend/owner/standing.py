"""What the threads of this process do, for a node that looks for a stalemate."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..wire.messages import Standing
from .access import FUTURES_THREAD

if TYPE_CHECKING:
    from ..wire.leadership import Leadership

__all__ = ["standing"]


def standing(request: int, leadership: Leadership, served: int) -> Standing:
    """Return the answer to a question.

    Args:
        request: its number.
        leadership: knows who waits.
        served: messages that this process has served.
    """
    names = [thread.name for thread in threading.enumerate()]
    users = [name for name in names if name == FUTURES_THREAD or not name.startswith("millpond")]
    return Standing(request, leadership.waiting(), len(users), served)
