"""Finds out whether those who wait for room in the store wait for ever.

Without spilling, room comes only from a process that lets go of something. One that waits itself,
for a result or for room, does not. So while somebody waits for room and nobody is known to work,
all processes are asked again and again what they do, on other nodes too: whoever holds something
here may wait for one of them. `scheduler.stalemate` knows what the answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from millpond.scheduler.stalemate import Standing, Verdict, judge

from ..wire import messages as m

__all__ = ["StalemateFinder"]

#: seconds between two rounds of questions
_PAUSE = 0.5
#: seconds of quiet after which threads that might do something are not counted on any more
_PATIENCE = 30.0


class StalemateFinder:
    """Asks the processes of a session.

    Args:
        ask: sends all processes and the other nodes a question; returns who they are.
        needed: whether anybody waits for room.
        found: called when nobody will ever go on by himself; `take` tells so once.
        loop: the node's event loop.
    """

    def __init__(
        self,
        ask: Callable[[m.AskStanding], Iterable[bytes]],
        needed: Callable[[], bool],
        found: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._ask = ask
        self._needed = needed
        self._report = found
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._round = 0
        self._asked: frozenset[bytes] = frozenset()
        self._before: dict[bytes, Standing] = {}
        self._now: dict[bytes, Standing] = {}
        #: when it became quiet, by the loop's clock
        self._quiet_since: float | None = None
        self._found = False

    def take(self) -> bool:
        """Whether nobody will ever go on, which is then forgotten; begins to find out."""
        if self._found:
            self._found = False
            return True
        if self._timer is None:
            self._timer = self._loop.call_later(_PAUSE, self._next_round)
        return False

    def told(self, process_id: bytes, message: m.Standing) -> None:
        """A process answers."""
        if message.request == self._round:
            self._now[process_id] = Standing(message.waiting, message.threads, message.served)

    def told_by_node(self, node_id: bytes, message: m.NodeStanding) -> None:
        """Another node answers, and says which processes will."""
        if message.request == self._round:
            self._asked |= frozenset(message.processes)
            self._now[node_id] = Standing(1, 1, message.moved)

    def close(self) -> None:
        """Ask nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _next_round(self) -> None:
        self._timer = None
        if not self._needed():
            self._forget()
            return
        complete = self._now.keys() == self._asked
        verdict = judge(self._before, self._now) if complete else Verdict.MOVES
        if self._is_over(verdict):
            self._forget()
            self._found = True
            self._report()
            self._found = False  # whoever waited got room meanwhile
        else:
            self._before, self._now = self._now, {}
            self._round += 1
            self._asked = frozenset(self._ask(m.AskStanding(self._round)))
        if self._timer is None:
            self._timer = self._loop.call_later(_PAUSE, self._next_round)

    def _is_over(self, verdict: Verdict) -> bool:
        if verdict is not Verdict.QUIET:
            self._quiet_since = None
            return verdict is Verdict.STUCK
        if self._quiet_since is None:
            self._quiet_since = self._loop.time()
        return self._loop.time() - self._quiet_since >= _PATIENCE

    def _forget(self) -> None:
        self._asked = frozenset()
        self._before, self._now = {}, {}
        self._quiet_since = None
