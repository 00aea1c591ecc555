"""The lease queue of one node: who gets a slot next. Pure: events in, grants out.

Three kinds of request wait for resources: a *lease* lets an owner send tasks without stored
arguments to a worker, one after the other, until it is returned; a *task* with stored
arguments is run once, when its arguments fit in memory beside those of the others
(``admission``); an *actor* keeps its resources until it dies.

Owners take turns; the requests of one owner are granted in the order of its submissions. When
somebody waits for resources, a lease is recalled from an owner that holds more than its share.
Not covered: workers, pins, and messages (the node's).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from .admission import Admission
from .resources import ResourcePool, unpack_shape

__all__ = ["Grant", "Kind", "LeaseQueue", "Request"]


class Kind(Enum):
    """What is asked for."""

    LEASE = "lease"
    TASK = "task"
    ACTOR = "actor"


@dataclass(slots=True, frozen=True)
class Request:
    """A task or actor that waits for its turn.

    Attributes:
        key: names it, unique among requests and grants.
        owner: the process that submitted it.
        shape: packed resources.
        order: position among the owner's submissions.
        arguments: stored arguments, object -> bytes.
        output: bytes it is expected to write to the store.
    """

    key: Hashable
    owner: bytes
    shape: bytes
    order: int
    kind: Kind = Kind.TASK
    arguments: Mapping[bytes, int] = field(default_factory=dict)
    output: int = 0


@dataclass(slots=True)
class Grant:
    """A slot that somebody holds until it is released."""

    key: Hashable
    owner: bytes
    shape: bytes
    kind: Kind
    request: Request | None = None
    #: the holder waits for other tasks and its resources serve them meanwhile
    lent: bool = False
    #: its owner was asked to return it
    recalled: bool = False


class _Owner:
    """What one owner waits for and holds."""

    def __init__(self) -> None:
        #: shape -> heap of (order, serial, request)
        self.requests: dict[bytes, list[tuple[int, int, Request]]] = {}
        #: shape -> [leases wanted, order of the first task that waits for one]
        self.leases_wanted: dict[bytes, list[int]] = {}
        self.leases_held = 0


class LeaseQueue:
    """All requests and grants of one node.

    Args:
        resources: of the node, in counted units.
        capacity: bytes of the object store.
    """

    def __init__(self, resources: Mapping[str, int], capacity: int) -> None:
        self.pool = ResourcePool(resources)
        self.admission = Admission(capacity)
        self.grants: dict[Hashable, Grant] = {}
        self._owners: dict[bytes, _Owner] = {}
        #: owners in the order of their turns
        self._turns: list[bytes] = []
        self._withdrawn: set[Hashable] = set()
        self._serial = itertools.count()
        self._lease_ids = itertools.count(1)
        self._shapes: dict[bytes, dict[str, int]] = {}
        #: the task that waits for memory; nobody with arguments overtakes it
        self._memory_turn: Hashable = None

    # --- events ------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        """A task or actor asks for a slot."""
        heap = self._owner(request.owner).requests.setdefault(request.shape, [])
        heapq.heappush(heap, (request.order, next(self._serial), request))

    def want_leases(self, owner: bytes, shape: bytes, count: int, order: int) -> None:
        """Set how many more leases of a shape an owner waits for."""
        wanted = self._owner(owner).leases_wanted
        if count > 0:
            wanted[shape] = [count, order]
        else:
            wanted.pop(shape, None)

    def withdraw(self, key: Hashable) -> bool:
        """Forget a waiting request; False when it is not waiting (any more)."""
        for owner in self._owners.values():
            for heap in owner.requests.values():
                for _, _, request in heap:
                    if request.key == key and key not in self._withdrawn:
                        self._withdrawn.add(key)
                        return True
        return False

    def release(self, key: Hashable) -> None:
        """The holder of a slot is done with it."""
        grant = self.grants.pop(key, None)
        if grant is None:
            return
        if not grant.lent:
            self.pool.give(self._shape(grant.shape))
            self.admission.end(key)
        if grant.kind is Kind.LEASE:
            owner = self._owners.get(grant.owner)
            if owner is not None:
                owner.leases_held -= 1

    def lend(self, key: Hashable) -> None:
        """The holder waits for other tasks; its resources and its memory serve them."""
        grant = self.grants.get(key)
        if grant is not None and not grant.lent:
            grant.lent = True
            self.pool.give(self._shape(grant.shape))
            self.admission.end(key)

    def take_back(self, key: Hashable) -> None:
        """The holder goes on, at once, even if for a moment more is used than there is."""
        grant = self.grants.get(key)
        if grant is not None and grant.lent:
            grant.lent = False
            self.pool.take(self._shape(grant.shape))
            if grant.request is not None and grant.request.arguments:
                self.admission.admit(key, grant.request.arguments, 0)

    def drop_owner(self, owner: bytes) -> list[Grant]:
        """An owner died: forget what it waits for; return what it holds, to be ended."""
        if self._owners.pop(owner, None) is not None:
            self._turns.remove(owner)
        return [grant for grant in self.grants.values() if grant.owner == owner]

    # --- decisions -----------------------------------------------------------------------------

    def next_grants(self, limit: int) -> list[Grant]:
        """Grant what can be granted, at most ``limit`` slots, owners taking turns."""
        granted: list[Grant] = []
        progress = True
        while progress and len(granted) < limit:
            progress = False
            for owner_id in list(self._turns):
                grant = self._grant_one(owner_id)
                if grant is not None:
                    granted.append(grant)
                    progress = True
                    self._turns.remove(owner_id)
                    self._turns.append(owner_id)
                    if len(granted) >= limit:
                        break
        return granted

    def recalls(self) -> list[Grant]:
        """Return the leases to ask back now, because others wait for their resources."""
        waiting = [o for o in self._turns if self._waits_for_resources(o)]
        open_recalls = sum(grant.recalled for grant in self.grants.values())
        recalled: list[Grant] = []
        for owner_id in waiting[: max(len(waiting) - open_recalls, 0)]:
            victim = self._lease_to_recall(owner_id)
            if victim is not None:
                victim.recalled = True
                recalled.append(victim)
        return recalled

    def _grant_one(self, owner_id: bytes) -> Grant | None:
        owner = self._owners[owner_id]
        best: tuple[int, bytes, Request | None] | None = None
        for shape, (_, order) in owner.leases_wanted.items():
            if (best is None or order < best[0]) and self.pool.fits(self._shape(shape)):
                best = (order, shape, None)
        for shape, request in self._heads(owner):
            if (best is None or request.order < best[0]) and self._admissible(shape, request):
                best = (request.order, shape, request)
        if best is None:
            return None
        _, shape, request = best
        return self._grant_lease(owner_id, shape) if request is None else self._grant(request)

    def _heads(self, owner: _Owner) -> Iterator[tuple[bytes, Request]]:
        for shape, heap in list(owner.requests.items()):
            while heap and heap[0][2].key in self._withdrawn:
                self._withdrawn.discard(heapq.heappop(heap)[2].key)
            if heap:
                yield shape, heap[0][2]
            else:
                del owner.requests[shape]

    def _admissible(self, shape: bytes, request: Request) -> bool:
        if not self.pool.fits(self._shape(shape)):
            return False
        if not request.arguments:
            return True
        if self._memory_turn is not None and self._memory_turn != request.key:
            if self._is_waiting(self._memory_turn):
                return False
            self._memory_turn = None
        if self.admission.fits(request.arguments, request.output):
            return True
        self._memory_turn = request.key
        return False

    def _is_waiting(self, key: Hashable) -> bool:
        return any(
            request.key == key
            for owner in self._owners.values()
            for _, request in self._heads(owner)
        )

    def _grant_lease(self, owner_id: bytes, shape: bytes) -> Grant:
        owner = self._owners[owner_id]
        wanted = owner.leases_wanted[shape]
        wanted[0] -= 1
        if wanted[0] == 0:
            del owner.leases_wanted[shape]
        owner.leases_held += 1
        grant = Grant(next(self._lease_ids), owner_id, shape, Kind.LEASE)
        self.grants[grant.key] = grant
        self.pool.take(self._shape(shape))
        return grant

    def _grant(self, request: Request) -> Grant:
        heapq.heappop(self._owners[request.owner].requests[request.shape])
        if self._memory_turn == request.key:
            self._memory_turn = None
        grant = Grant(request.key, request.owner, request.shape, request.kind, request)
        self.grants[grant.key] = grant
        self.pool.take(self._shape(request.shape))
        if request.arguments:
            self.admission.admit(request.key, request.arguments, request.output)
        return grant

    def _waits_for_resources(self, owner_id: bytes) -> bool:
        owner = self._owners[owner_id]
        if any(not self.pool.fits(self._shape(shape)) for shape in owner.leases_wanted):
            return True
        return any(not self.pool.fits(self._shape(shape)) for shape, _ in self._heads(owner))

    def _lease_to_recall(self, owner_id: bytes) -> Grant | None:
        """Return a lease whose end would help an owner without being unfair to its holder."""
        owner = self._owners[owner_id]
        has_requests = any(True for _ in self._heads(owner))
        for grant in self.grants.values():
            if grant.kind is not Kind.LEASE or grant.recalled or grant.lent:
                continue
            holder = self._owners.get(grant.owner)
            if holder is owner:
                # Our own tasks or leases of another shape wait behind this lease.
                if has_requests or any(shape != grant.shape for shape in owner.leases_wanted):
                    return grant
            elif has_requests or (holder is not None and holder.leases_held > owner.leases_held):
                return grant
        return None

    def _owner(self, owner_id: bytes) -> _Owner:
        owner = self._owners.get(owner_id)
        if owner is None:
            owner = self._owners[owner_id] = _Owner()
            self._turns.append(owner_id)
        return owner

    def _shape(self, packed: bytes) -> dict[str, int]:
        shape = self._shapes.get(packed)
        if shape is None:
            shape = self._shapes[packed] = unpack_shape(packed)
        return shape

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree."""
        self.pool.validate()
        self.admission.validate()
        used: dict[str, int] = {}
        for grant in self.grants.values():
            if not grant.lent:
                for name, needed in self._shape(grant.shape).items():
                    used[name] = used.get(name, 0) + needed
        for name, total in self.pool.total.items():
            assert total - used.get(name, 0) == self.pool.available[name], (name, used)
        for owner_id, owner in self._owners.items():
            held = sum(g.owner == owner_id and g.kind is Kind.LEASE for g in self.grants.values())
            assert held == owner.leases_held, (owner_id, held, owner.leases_held)
