"""What tasks of each kind took in earlier computations of this process.

A *kind* is what Dask's keys say before their token: usually the name of a function. A batch of
tasks reports what each took; tasks of a kind that is not known as small are tried out first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from dask.typing import Key
from dask.utils import key_split

from .batches import Cost, Links
from .units import Unit

__all__ = ["Costs", "kind_of"]

#: what is worth sharing a call: seconds of a task, and bytes of its result
_SMALL_SECONDS = 2e-3
_SMALL_BYTES = 256 * 1024
#: seconds around each task in a batch: its share of unpickling, and of looking up its inputs
_OVERHEAD = 10e-6
_MOST_KINDS = 4096
#: units of a kind that make it worth trying one out, and units that are tried out at once
_WORTH_TRYING = 16
_MOST_TRIALS = 32
#: computations to let pass, at most, before a kind that was not small is tried out again
_LONGEST_REST = 64


def kind_of(key: Key) -> str:
    """Return the kind of the task that makes ``key``."""
    name = key[0] if type(key) is tuple and key else key
    if type(name) is str:
        # The two ways in which Dask makes tokens, for which its own function takes long.
        if name[-37:-36] == "-" and name[-24:-23] == "-":
            return name[:-37]  # UUID
        if name[-33:-32] == "-":
            return name[:-33]  # hash
    return str(key_split(key))


class Costs:
    """Means by kind, and when it is worth trying a kind out."""

    def __init__(self) -> None:
        self._known: dict[str, Cost] = {}
        #: of kinds that were not small when they were tried out: how often in succession, and how
        #: many computations to let pass before the next time
        self._misses: dict[str, tuple[int, int]] = {}

    def of(self, unit: Unit) -> Cost | None:
        """Return what a unit is expected to take when that is little, else None."""
        cost = self._known.get(kind_of(unit.key))
        return cost if cost is not None and _is_small(cost) else None

    def learn(self, units: Sequence[Unit], seconds: Sequence[float], sizes: Sequence[int]) -> None:
        """Note what the units of one batch took; those that did not run are missing."""
        sums: dict[str, tuple[int, float, int]] = {}
        for unit, took, size in zip(units, seconds, sizes, strict=False):
            kind = kind_of(unit.key)
            count, so_far, bytes_so_far = sums.get(kind, (0, 0.0, 0))
            sums[kind] = count + 1, so_far + took, bytes_so_far + size
        for kind, (count, took, size) in sums.items():
            self._note(kind, Cost(took / count + _OVERHEAD, size / count))

    def _note(self, kind: str, new: Cost) -> None:
        if _is_small(new):
            self._misses.pop(kind, None)
        else:
            # The first time can be an import.
            misses = self._misses.pop(kind, (0, 0))[0] + 1
            self._misses[kind] = misses, min(2 ** (misses - 1), _LONGEST_REST) if misses > 1 else 0
        known = self._known.pop(kind, None)  # the latest kinds are last
        if known is not None and new.seconds > known.seconds:
            new = Cost(known.seconds + 0.3 * (new.seconds - known.seconds), new.size)
        self._known[kind] = new
        for table in (self._known, self._misses):
            while len(table) > _MOST_KINDS:
                del table[next(iter(table))]

    def choose_trials(
        self, units: Sequence[Unit], costs: Sequence[Cost | None], alone: Collection[int]
    ) -> list[int]:
        """Return units to run before the others, so that their kinds' costs are known.

        One unit of each kind of which there are many, with all that it needs.

        Args:
            units: of one computation.
            costs: what is expected of each unit; None where it is not known as small.
            alone: the indexes of units that are not to be tried out.

        Raises:
            RuntimeError: the units form a cycle.
        """
        kinds = {
            i: kind_of(units[i].key)
            for i, cost in enumerate(costs)
            if cost is None and i not in alone
        }
        counts = Counter(kinds.values())
        left = {kind for kind, n in counts.items() if n >= _WORTH_TRYING and self._is_due(kind)}
        if not left:
            return []
        links = Links(units)
        order = links.depth_first()
        place = {i: position for position, i in enumerate(order)}
        chosen: list[int] = []
        for i in order:
            if kinds.get(i) not in left:
                continue
            closure = _closure(i, links, chosen)
            left.discard(kinds[i])
            if len(chosen) + len(closure) <= _MOST_TRIALS and closure.isdisjoint(alone):
                chosen += sorted(closure, key=place.__getitem__)
            if not left:
                break
        return chosen

    def _is_due(self, kind: str) -> bool:
        misses, rest = self._misses.get(kind, (0, 0))
        if rest:
            self._misses[kind] = misses, rest - 1
        return not rest


def _is_small(cost: Cost) -> bool:
    return cost.seconds <= _SMALL_SECONDS and cost.size <= _SMALL_BYTES


def _closure(unit: int, links: Links, chosen: Collection[int]) -> set[int]:
    """Return a unit and all that it needs, other than what is chosen; of large ones a part."""
    found = {unit}
    stack = [unit]
    while stack and len(found) <= _MOST_TRIALS:
        missing = links.needs[stack.pop()] - found
        missing = {j for j in missing if j not in chosen}
        found |= missing
        stack += missing
    return found
