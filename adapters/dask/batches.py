"""Grouping units into batches: several units that one call of a worker executes.

Two reasons. *Small* units, whose tasks take next to nothing by what earlier ones of their kind
took (``costs``), would cost more to send than to run. *Closed clusters* are a few units around
results that several of them use and nobody else; in one call these are never stored.

A batch never waits for what comes after it: small units share a batch only when their inputs from
other batches are made on lower levels, and clusters need nothing from outside. So batches form no
cycle, whatever the graph.

Pure: no engine, no pickling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from dask._task_spec import Task
from dask.typing import Key

from .hints import Hints
from .units import Unit

__all__ = ["BATCH_MARK", "Batch", "Budget", "Cost", "Links", "make_batches"]

#: how the names of batches end, where the engine names tasks
BATCH_MARK = " (batch)"

#: results below this many bytes of one batch are returned as one object
_SMALL_RESULT = 4096
#: units of one batch at most, and how far apart in the graph they may be
_MOST_UNITS = 1024
_WINDOW = 4096
#: bytes of results of one batch
_MOST_BYTES = 8 << 20
#: units of one cluster, and users of one of its results, at most
_CLUSTER_UNITS = 8
_CLUSTER_USERS = 4
#: batches for each CPU that clusters must leave, so that none of them idles at the end
_CLUSTERS_PER_CPU = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """What one unit of some kind is expected to take."""

    seconds: float
    #: bytes of its result
    size: float


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of what may share a batch."""

    #: processors that batches are to keep busy
    cpus: int
    #: expected seconds of a batch of small units
    seconds: float


@dataclass(slots=True)
class Batch:
    """Units that one call executes, one after the other."""

    #: in an order in which they can run
    units: list[Unit]
    #: what the tasks call their inputs from outside -> the key that it is
    inputs: dict[Key, Key]
    #: results that are returned together, as one object
    bundle: list[Key]
    #: results that are returned as objects of their own
    singles: list[Key]
    #: whether what takes unexpectedly long is to be handed on
    small: bool
    hints: Hints = field(init=False)

    def __post_init__(self) -> None:
        self.hints = self.units[0].hints

    @property
    def key(self) -> Key:
        """The key of the last task."""
        return self.units[-1].key

    @property
    def tasks(self) -> list[Task]:
        """Those of all units, in order."""
        return [task for unit in self.units for task in unit.tasks]

    @property
    def outputs(self) -> list[list[Key]]:
        """The keys of the results that are returned."""
        return [[key] for key in (*self.bundle, *self.singles)]


@dataclass(slots=True)
class _Open:
    """A batch in the making."""

    level: int
    #: position of its first unit
    first: int
    hints: Hints
    members: list[int] = field(default_factory=list)
    seconds: float = 0.0
    size: float = 0.0

    def fits(self, cost: Cost, position: int, seconds: float, hints: Hints) -> bool:
        """Whether one more unit may share the batch."""
        return (
            self.seconds + cost.seconds <= seconds
            and self.size + cost.size <= _MOST_BYTES
            and len(self.members) < _MOST_UNITS
            and position - self.first < _WINDOW
            and hints == self.hints
        )

    def add(self, unit: int, cost: Cost) -> None:
        self.members.append(unit)
        self.seconds += cost.seconds
        self.size += cost.size


class Links:
    """Which unit uses the results of which, by their indexes."""

    def __init__(self, units: Sequence[Unit]) -> None:
        maker = {key: i for i, unit in enumerate(units) for keys in unit.outputs for key in keys}
        self.needs: list[set[int]] = [
            {maker[key] for key in unit.inputs.values() if key in maker} for unit in units
        ]
        self.users: list[list[int]] = [[] for _ in units]
        for i, needed in enumerate(self.needs):
            for j in needed:
                self.users[j].append(i)

    def depth_first(self) -> list[int]:
        """Return the units so that each follows what it needs, as closely as possible.

        Raises:
            RuntimeError: they form a cycle.
        """
        done: set[int] = set()
        #: what is on the way from the present end to where the search is
        path: set[int] = set()
        order: list[int] = []
        for end in [i for i, users in enumerate(self.users) if not users]:
            stack = [end]
            while stack:
                i = stack[-1]
                missing = [] if i in done else [j for j in self.needs[i] if j not in done]
                if missing:
                    if not path.isdisjoint(missing):
                        raise RuntimeError("the graph holds a cycle")
                    path.add(i)
                    stack += missing
                    continue
                stack.pop()
                path.discard(i)
                if i not in done:
                    done.add(i)
                    order.append(i)
        if len(order) < len(self.needs):
            raise RuntimeError("the graph holds a cycle")
        return order


def make_batches(
    units: Sequence[Unit],
    costs: Sequence[Cost | None],
    alone: Collection[int],
    wanted: Collection[Key],
    budget: Budget,
) -> list[Unit | Batch]:
    """Put units that belong together into batches; return all, in no particular order.

    Args:
        units: of one computation.
        costs: the expected cost of each that is small; None for any other.
        alone: the indexes of units that must not be part of a batch; their cost is None.
        wanted: keys whose results must be returned.
        budget: how much may share a batch.

    Raises:
        RuntimeError: the units form a cycle.
    """
    links = Links(units)
    clusters = _Clusters(units, links, costs, alone, wanted).find(budget.cpus)
    taken = {i for group in clusters for i in group}
    made: list[Unit | Batch] = [
        _batch(units, group, links, wanted, costs, small=False) for group in clusters
    ]
    for group in _small_groups(units, links, taken, costs, budget.seconds):
        if len(group) == 1:
            made.append(units[group[0]])
        else:
            made.append(_batch(units, group, links, wanted, costs, small=True))
    return made


def _batch(
    units: Sequence[Unit],
    group: Sequence[int],
    links: Links,
    wanted: Collection[Key],
    costs: Sequence[Cost | None],
    *,
    small: bool,
) -> Batch:
    inside = set(group)
    made = {units[i].key for i in group}
    inputs: dict[Key, Key] = {}
    bundle: list[Key] = []
    singles: list[Key] = []
    for i in group:
        unit, cost = units[i], costs[i]
        inputs |= {name: key for name, key in unit.inputs.items() if key not in made}
        if unit.key in wanted or not inside.issuperset(links.users[i]):
            tiny = cost is not None and cost.size < _SMALL_RESULT
            (bundle if tiny else singles).append(unit.key)
    return Batch([units[i] for i in group], inputs, bundle, singles, small)


# --- small units -------------------------------------------------------------------------


def _small_groups(
    units: Sequence[Unit],
    links: Links,
    taken: set[int],
    costs: Sequence[Cost | None],
    seconds: float,
) -> list[list[int]]:
    """Return all units that are not ``taken``; small ones share a group, others are alone."""
    groups: list[list[int]] = []
    #: what was taken needs nothing, and so is on the lowest level
    level_of = dict.fromkeys(taken, 0)
    group_of: dict[int, _Open | None] = dict.fromkeys(taken)
    filling: dict[tuple[int, Hints], _Open] = {}
    for position, i in enumerate(links.depth_first()):
        if i in taken:
            continue
        needs = links.needs[i]
        below = max((level_of[j] for j in needs), default=-1)
        cost = costs[i]
        if cost is None:
            level_of[i], group_of[i] = below + 1, None
            groups.append([i])
            continue
        # It may follow what it needs into a group, if all else that it needs is further below.
        makers = [group_of[j] for j in needs if level_of[j] == below]
        group = makers[0] if makers else None
        hints = units[i].hints
        fits = group is not None and all(maker is group for maker in makers)
        if group is None or not fits or not group.fits(cost, position, seconds, hints):
            group = filling.get((below + 1, hints))
            if group is None or not group.fits(cost, position, seconds, hints):
                group = filling[below + 1, hints] = _Open(below + 1, position, hints)
                groups.append(group.members)
        group.add(i, cost)
        level_of[i], group_of[i] = group.level, group
    return groups


# --- clusters ----------------------------------------------------------------------------


class _Clusters:
    """Looks for closed clusters: two layers of units, all that they need inside."""

    def __init__(
        self,
        units: Sequence[Unit],
        links: Links,
        costs: Sequence[Cost | None],
        alone: Collection[int],
        wanted: Collection[Key],
    ) -> None:
        self._units = units
        self._links = links
        self._wanted = wanted
        self._eligible = [cost is None and i not in alone for i, cost in enumerate(costs)]

    def find(self, cpus: int) -> list[list[int]]:
        """Return the clusters, each in an order in which it can run; none if they are too few."""
        parent = list(range(len(self._units)))

        def root(i: int) -> int:
            while parent[i] != i:
                parent[i] = parent[parent[i]]
                i = parent[i]
            return i

        for i, users in enumerate(self._links.users):
            if 2 <= len(users) <= _CLUSTER_USERS and self._eligible[i]:
                for user in users:
                    parent[root(user)] = root(i)
        members: dict[int, list[int]] = {}
        for i in range(len(self._units)):
            members.setdefault(root(i), []).append(i)
        found = [
            group
            for group in members.values()
            if 2 < len(group) <= _CLUSTER_UNITS and self._is_closed(group)
        ]
        if len(found) < _CLUSTERS_PER_CPU * cpus:
            return []
        needs = self._links.needs
        return [sorted(group, key=lambda i: bool(needs[i])) for group in found]

    def _is_closed(self, group: list[int]) -> bool:
        inside = set(group)
        needs, users = self._links.needs, self._links.users
        hints = self._units[group[0]].hints
        for i in group:
            if not self._eligible[i] or self._units[i].hints != hints:
                return False
            if not inside.issuperset(needs[i]):
                return False
            if not inside.isdisjoint(users[i]) and (
                needs[i] or not inside.issuperset(users[i]) or self._units[i].key in self._wanted
            ):
                return False
        return True
