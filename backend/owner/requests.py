"""Questions to other processes that a thread waits for, and their answers."""

from __future__ import annotations

import itertools
from typing import Any

from ..errors import NodeDiedError
from ..wire.leadership import Leadership, Wait

__all__ = ["Requests"]


class _Answer:
    __slots__ = ("error", "message", "wait")

    def __init__(self, wait: Wait) -> None:
        self.message: Any = None
        self.error: Exception | None = None
        self.wait = wait


class Requests:
    """Matches answers to waiting threads by the number of the request. Thread-safe.

    Args:
        leadership: how to wait.
    """

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[_Answer, Any]] = {}

    def ask(self, connection: Any, message: Any) -> Any:
        """Send ``message`` with a fresh request number; return the answer.

        Raises:
            NodeDiedError: the connection ended before the answer came.
        """
        number = message.request = next(self._numbers)
        answer = _Answer(self._leadership.wait())
        self._waiting[number] = (answer, connection)
        sent = False
        try:
            sent = not connection.closed and connection.send(message)
        finally:
            if not sent:
                self._waiting.pop(number, None)
        if not sent:
            raise NodeDiedError("the process that should answer is gone")
        answer.wait.wait()
        if answer.error is not None:
            raise answer.error
        return answer.message

    def answered(self, message: Any) -> None:
        """An answer arrived."""
        waiting = self._waiting.pop(message.request, None)
        if waiting is not None:
            waiting[0].message = message
            waiting[0].wait.wake()

    def fail(self, connection: Any, error: Exception) -> None:
        """A connection ended: nothing that was asked over it will be answered."""
        for number, (answer, asked) in list(self._waiting.items()):
            if asked is connection and self._waiting.pop(number, None) is not None:
                answer.error = error
                answer.wait.wake()

    def fail_all(self, error: Exception) -> None:
        """Nothing will be answered any more."""
        for _, connection in list(self._waiting.values()):
            self.fail(connection, error)
