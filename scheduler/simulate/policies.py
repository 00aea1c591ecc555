"""Who decides where a simulated task runs: the engine's placement, and simpler rules beside it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from ..placement import Copies, Load, Need, Placement, Rates

__all__ = ["POLICIES", "Policy"]

Policy = Callable[[Rates, random.Random], Placement]


class _ByLoad(Placement):
    """The node with the shorter queue, of two; where the arguments are does not count."""

    def choose(
        self, need: Need, copies: Callable[[bytes], Copies], coming: int = 0
    ) -> bytes | None:
        return super().choose(Need(need.shape, {}), copies, coming)

    def better_than(
        self,
        node: bytes,
        load: Load,
        need: Need,
        copies: Callable[[bytes], Copies],
        *,
        moves: int = 0,
        stuck: bool = False,
    ) -> bytes | None:
        anywhere = Need(need.shape, {})
        return super().better_than(node, load, anywhere, copies, moves=moves, stuck=stuck)


class _Random(Placement):
    """Any node."""

    def choose(
        self, need: Need, copies: Callable[[bytes], Copies], coming: int = 0
    ) -> bytes | None:
        nodes = self._able(need.shape).nodes
        return self._rng.choice(nodes) if nodes else None

    def better_than(
        self,
        node: bytes,
        load: Load,
        need: Need,
        copies: Callable[[bytes], Copies],
        *,
        moves: int = 0,
        stuck: bool = False,
    ) -> bytes | None:
        return None


class _ByLocality(_Random):
    """The node with most bytes of the arguments, however much it has to do."""

    def choose(
        self, need: Need, copies: Callable[[bytes], Copies], coming: int = 0
    ) -> bytes | None:
        held: dict[bytes, int] = {}
        for object_id, size in need.arguments.items():
            for node in copies(object_id):
                held[node] = held.get(node, 0) + size
        most = max(held.values(), default=0)
        nodes = [node for node, size in held.items() if size == most]
        return self._rng.choice(nodes) if nodes else super().choose(need, copies, coming)


#: name -> makes one
POLICIES: Final[dict[str, Policy]] = {
    "random": _Random,
    "load": _ByLoad,
    "locality": _ByLocality,
    "millpond": Placement,
}
