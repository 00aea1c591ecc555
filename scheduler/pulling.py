"""Which objects a node fetches from which other nodes, and when. Pure: events in, commands out.

Objects are fetched in the order in which room for them was made, as many at a time as `limit`
bytes allow, each from the source that this node asks least of at the moment. A source may hand this
node on to one that receives the object itself; see ``fanout``. What a source did not deliver is had
from another one, or, where it was none of ours, from those that handed us on; which are then asked
to serve it themselves. Not covered: room, and how bytes get here.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Command", "Fetch", "GiveUp", "PullQueue"]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Command: fetch an object from a node, from `offset` on."""

    object_id: bytes
    node_id: bytes
    offset: int
    #: of this node: one more than its source may have
    depth: int = 1
    #: this node is not to be handed on
    direct: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Command: no node is left that might have the object."""

    object_id: bytes
    reason: str


Command = Fetch | GiveUp


class _Pull:
    __slots__ = ("depth", "direct", "filled", "reason", "size", "source", "sources")

    def __init__(self, size: int, sources: list[bytes]) -> None:
        self.size = size
        #: nodes that may have it, and were not asked in vain
        self.sources = sources
        #: the node that it is being fetched from
        self.source: bytes | None = None
        #: bytes that are here
        self.filled = 0
        #: how often it was handed on, and once more
        self.depth = 1
        #: it is not to be handed on (again)
        self.direct = False
        #: what the last source said
        self.reason = "no node is known to have it"


class PullQueue:
    """The pulls of one node.

    Args:
        limit: bytes that are fetched at the same time; one object may be larger.
        rng: chooses among equal sources.
    """

    def __init__(self, limit: int, rng: random.Random) -> None:
        self._limit = limit
        self._rng = rng
        self._pulls: dict[bytes, _Pull] = {}
        #: bytes of what is being fetched
        self._in_flight = 0
        #: node -> fetches from it
        self._asked: dict[bytes, int] = {}

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._pulls

    @property
    def inbound(self) -> int:
        """Bytes that are still to be received."""
        return sum(pull.size - pull.filled for pull in self._pulls.values())

    # --- events ------------------------------------------------------------------------------

    def add(self, object_id: bytes, size: int, sources: Iterable[bytes]) -> list[Command]:
        """There is room for an object."""
        self._pulls[object_id] = _Pull(size, list(sources))
        return self._next()

    def learn(self, object_id: bytes, sources: Iterable[bytes]) -> None:
        """More nodes are said to have an object."""
        pull = self._pulls.get(object_id)
        if pull is not None:
            pull.sources += [node_id for node_id in sources if node_id not in pull.sources]

    def handed_on(self, object_id: bytes, node_id: bytes) -> list[Command]:
        """The source has others to serve, and says who is to be asked instead."""
        pull = self._pulls[object_id]
        self._ended(pull)
        pull.depth += 1
        return [self._begin(object_id, pull, node_id)]

    def done(self, object_id: bytes) -> list[Command]:
        """An object is here."""
        pull = self._pulls.pop(object_id)
        self._ended(pull)
        return self._next()

    def failed(self, object_id: bytes, filled: int, reason: str) -> list[Command]:
        """A fetch ended early, with so many bytes of the object here: go on elsewhere."""
        pull = self._pulls[object_id]
        source = pull.source
        self._ended(pull)
        if pull.depth == 1:
            pull.sources = [node_id for node_id in pull.sources if node_id != source]
        pull.depth, pull.direct = 1, True
        pull.filled = max(pull.filled, filled)
        pull.reason = reason
        return self._next()

    # --- decisions -----------------------------------------------------------------------------

    def _next(self) -> list[Command]:
        commands: list[Command] = []
        for object_id, pull in list(self._pulls.items()):
            if pull.source is not None:
                continue
            if not pull.sources:
                del self._pulls[object_id]
                commands.append(GiveUp(object_id, pull.reason))
                continue
            if self._in_flight and self._in_flight + pull.size > self._limit:
                break
            self._rng.shuffle(pull.sources)
            source = min(pull.sources, key=lambda node_id: self._asked.get(node_id, 0))
            commands.append(self._begin(object_id, pull, source))
        return commands

    def _begin(self, object_id: bytes, pull: _Pull, source: bytes) -> Fetch:
        pull.source = source
        self._in_flight += pull.size
        self._asked[source] = self._asked.get(source, 0) + 1
        return Fetch(object_id, source, pull.filled, pull.depth, pull.direct)

    def _ended(self, pull: _Pull) -> None:
        source = pull.source
        assert source is not None
        pull.source = None
        self._in_flight -= pull.size
        self._asked[source] -= 1
        if not self._asked[source]:
            del self._asked[source]

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree."""
        running = [pull for pull in self._pulls.values() if pull.source is not None]
        assert self._in_flight == sum(pull.size for pull in running)
        assert self._in_flight <= self._limit or len(running) == 1
        assert sum(self._asked.values()) == len(running)
        for pull in self._pulls.values():
            assert 0 <= pull.filled <= pull.size
            assert pull.depth > 1 or pull.source is None or pull.source in pull.sources
            assert not (pull.direct and pull.depth > 1)
