"""The lease queue of one node: who gets a slot next. Pure: events in, grants out.

Three kinds of request wait for resources: a *lease* lets an owner send tasks without stored
arguments to a worker, one after the other, until it is returned; a *task* with stored
arguments is run once, when its arguments fit in memory beside those of the others
(``admission``); an *actor* keeps its resources until it dies.

Owners take turns; the requests of one owner are granted in the order that it gave them. When
somebody waits for resources, a lease is recalled from an owner that holds more than its share.

Nobody starves. What is free goes to whoever can use it, but only `PATIENCE` times past somebody
who needs more than is free; from then on that is kept until there is enough. And nobody with
stored arguments overtakes a request that waits for memory.

Memory that nobody declared, but that earlier runs of a function needed (`EXPECTED_MEMORY`), is
reserved as far as the actors leave it, so that nobody waits for what will never be free; and what
running tasks are seen to use is taken, whatever was reserved for them.

Not covered: workers, pins, and messages (the node's).
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Container, Hashable, Iterator, Mapping

from .admission import Admission
from .needs import Needs
from .requests import Grant, Kind, Request
from .resources import EXPECTED_MEMORY, UNIT, ResourcePool, slots_of, unpack_shape
from .waiting import Overtaken, OwnerQueue

__all__ = ["Grant", "Kind", "LeaseQueue", "Request"]

#: the same few again and again; not to be changed
_unpacked = functools.lru_cache(maxsize=1024)(unpack_shape)


class LeaseQueue:
    """All requests and grants of one node.

    Args:
        resources: of the node, in counted units.
        capacity: bytes of the object store.
        first_lease: leases are numbered from here on.
    """

    def __init__(self, resources: Mapping[str, int], capacity: int, first_lease: int = 1) -> None:
        self.pool = ResourcePool(resources)
        #: what is left beside the actors, which do not end by themselves
        self._lasting = ResourcePool(resources)
        self.admission = Admission(capacity)
        #: when the tasks that wait will need which object
        self.needs = Needs()
        self.grants: dict[Hashable, Grant] = {}
        self._owners: dict[bytes, OwnerQueue] = {}
        #: owners in the order of their turns
        self._turns: list[bytes] = []
        self._lease_ids = itertools.count(first_lease)
        #: the request that waits for memory
        self._memory_turn: Request | None = None
        #: those who wait for more resources than are free
        self._overtaken = Overtaken()

    # --- events ------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        """A task or actor asks for a slot."""
        self._owner(request.owner).add(request)
        self.needs.add(request.key, request.owner, request.order, request.arguments)

    def want_leases(self, owner: bytes, shape: bytes, count: int, order: int) -> None:
        """Set how many more leases of a shape an owner waits for."""
        wanted = self._owner(owner).leases_wanted
        if count > 0:
            wanted[shape] = [count, order]
        else:
            wanted.pop(shape, None)

    def withdraw(self, key: Hashable) -> bool:
        """Forget a waiting request; False when it is not waiting (any more)."""
        withdrawn = any(owner.withdraw(key) for owner in self._owners.values())
        if withdrawn:
            self.needs.end(key)
        return withdrawn

    def release(self, key: Hashable) -> None:
        """The holder of a slot is done with it."""
        grant = self.grants.pop(key, None)
        if grant is None:
            return
        if not grant.lent:
            self._give(grant)
        self.needs.end(key)
        if grant.kind is Kind.LEASE:
            owner = self._owners.get(grant.owner)
            if owner is not None:
                owner.leases_held -= 1

    def lend(self, key: Hashable) -> None:
        """The holder waits for other tasks; its resources and its memory serve them."""
        grant = self.grants.get(key)
        if grant is not None and not grant.lent:
            grant.lent = True
            self._give(grant)

    def take_back(self, key: Hashable) -> None:
        """The holder goes on, at once, even if for a moment more is used than there is."""
        grant = self.grants.get(key)
        if grant is not None and grant.lent:
            grant.lent = False
            self._take(grant)
            if grant.request is not None and grant.request.arguments:
                self.admission.admit(key, grant.request.arguments, 0)

    def reshape(self, shape_of: Callable[[Request], bytes]) -> None:
        """Give waiting requests other shapes, because more is known of what they need."""
        for owner in self._owners.values():
            owner.reshape(shape_of)

    def see_memory(self, key: Hashable, used: int) -> None:
        """The holder of a slot uses so much memory, in counted units; not said of actors.

        What it uses beyond what was reserved for it is not free for others.
        """
        grant = self.grants.get(key)
        if grant is None or grant.kind is Kind.ACTOR:
            return
        if not grant.lent:
            self.pool.give(grant.held)
        memory = max(used, grant.reserved)
        rest = {name: held for name, held in grant.held.items() if name != "memory"}
        grant.held = {**rest, "memory": memory} if memory else rest
        if not grant.lent:
            self.pool.take(grant.held)

    def drop_owner(self, owner: bytes) -> list[Grant]:
        """An owner died: forget what it waits for; return what it holds, to be ended."""
        self.needs.drop_owner(owner)
        if self._owners.pop(owner, None) is not None:
            self._turns.remove(owner)
            self._overtaken.drop_owner(owner)
        return [grant for grant in self.grants.values() if grant.owner == owner]

    # --- decisions -----------------------------------------------------------------------------

    def next_grants(self, limit: int, reacting: Container[bytes] = ()) -> list[Grant]:
        """Grant what can be granted, at most ``limit`` slots, owners taking turns.

        Args:
            limit: slots to grant at most.
            reacting: owners that have just had a result, and so perhaps have an older task to
                submit than those that wait for a lease: they get no lease now.
        """
        granted: list[Grant] = []
        progress = True
        while progress and len(granted) < limit:
            progress = False
            for owner_id in list(self._turns):
                grant = self._grant_one(owner_id, leases=owner_id not in reacting)
                if grant is not None:
                    granted.append(grant)
                    progress = True
                    self._turns.remove(owner_id)
                    self._turns.append(owner_id)
                    if len(granted) >= limit:
                        break
        return granted

    def upcoming(self) -> Iterator[Request]:
        """Yield the tasks and actors that wait, about in the order in which they will be granted.

        Nothing may be changed before the caller is done with it.
        """
        waiting = deque(self._owners[owner_id].in_order() for owner_id in self._turns)
        while waiting:
            requests = waiting.popleft()
            request = next(requests, None)
            if request is not None:
                yield request
                waiting.append(requests)

    def owners(self) -> list[bytes]:
        """Return the owners that asked for anything and live."""
        return list(self._turns)

    def leases_wanted(self, owner: bytes) -> dict[bytes, tuple[int, int]]:
        """Return the leases that an owner waits for: shape -> count, order of the first task."""
        waiting = self._owners.get(owner)
        if waiting is None:
            return {}
        return {shape: (count, order) for shape, (count, order) in waiting.leases_wanted.items()}

    @property
    def waiting(self) -> int:
        """How many requests and leases are waited for."""
        return sum(count for owner in self._owners.values() for _, count in owner.waiting())

    @property
    def waiting_for_others(self) -> int:
        """Those of them that wait for others than actors, and so will have their turn."""
        return sum(
            count
            for owner in self._owners.values()
            for shape, count in owner.waiting()
            if self.is_attainable(shape)
        )

    @property
    def slots(self) -> int:
        """CPUs that the actors leave to others."""
        return max(slots_of(self._lasting.available), 0)

    @property
    def taken_slots(self) -> int:
        """CPUs that others than actors hold, rounded up."""
        held = self._lasting.available.get("CPU", 0) - self.pool.available.get("CPU", 0)
        return -(-held // UNIT)

    def is_attainable(self, shape: bytes) -> bool:
        """Whether a shape will be free when everybody but the actors is done."""
        return self._lasting.fits(self._shape(shape))

    def recalls(self) -> list[Grant]:
        """Return the leases to ask back now, because others wait for their resources."""
        recalled = self._recall_for_turn()
        open_recalls = sum(grant.recalled and not grant.lent for grant in self.grants.values())
        lacking = {owner_id: self._lacking(owner_id) for owner_id in self._turns}
        waiting = [owner_id for owner_id in self._turns if any(lacking[owner_id])]
        for owner_id in waiting[: max(len(waiting) - open_recalls, 0)]:
            victim = self._lease_to_recall(self._owners[owner_id], *lacking[owner_id])
            if victim is not None:
                victim.recalled = True
                recalled.append(victim)
        return recalled

    def _grant_one(self, owner_id: bytes, *, leases: bool) -> Grant | None:
        owner = self._owners[owner_id]
        best: tuple[int, bytes, Request | None] | None = None
        for shape, (_, order) in owner.leases_wanted.items() if leases else ():
            if (best is None or order < best[0]) and self._may_take(owner_id, shape):
                best = (order, shape, None)
        for head in owner.heads():
            if (best is None or head.order < best[0]) and self._admissible(head):
                best = (head.order, head.shape, head)
        if best is None:
            return None
        _, shape, request = best
        self._overtaken.granted((owner_id, shape), self._shape(shape))
        return self._grant_lease(owner_id, shape) if request is None else self._grant(request)

    def _admissible(self, request: Request) -> bool:
        if self._memory_allows(request):
            return self._may_take(request.owner, request.shape)
        if self._memory_turn is None:
            self._memory_turn = request
        return False

    # --- turns of those who wait for more than is free -------------------------------------------

    def _memory_allows(self, request: Request) -> bool:
        if not request.arguments:
            return True
        turn = self._memory_turn
        if turn is not None and turn is not request:
            owner = self._owners.get(turn.owner)
            is_next = owner is not None and owner.head(turn.shape) is turn
            if is_next and self.is_attainable(turn.shape):
                return False
            self._memory_turn = None
        return self.admission.fits(request.arguments, request.output)

    def _may_take(self, owner_id: bytes, shape: bytes) -> bool:
        """Whether a shape is free, and not kept for whoever was overtaken too often."""
        needed = self._shape(shape)
        if not self.pool.fits(needed):
            self._overtaken.begin((owner_id, shape), needed)
            return False
        turn = self._turn_to_keep_for()
        return turn is None or needed.keys().isdisjoint(self.pool.short_of(self._shape(turn[1])))

    def _turn_to_keep_for(self) -> tuple[bytes, bytes] | None:
        """Return the owner and the shape for which resources are kept."""
        for waiting in self._overtaken.too_often():
            if self._still_waits(*waiting):
                return waiting
            self._overtaken.end(waiting)
        return None

    def _still_waits(self, owner_id: bytes, shape: bytes) -> bool:
        """Whether an owner waits for nothing but the resources of a shape."""
        owner = self._owners.get(owner_id)
        if owner is None or not self.is_attainable(shape):
            return False
        if shape in owner.leases_wanted:
            return True
        request = owner.head(shape)
        return request is not None and self._memory_allows(request)

    # --- grants ----------------------------------------------------------------------------------

    def _grant_lease(self, owner_id: bytes, shape: bytes) -> Grant:
        self._owners[owner_id].remove_lease(shape)
        grant = Grant(next(self._lease_ids), owner_id, shape, Kind.LEASE)
        self._hold(grant)
        return grant

    def _grant(self, request: Request) -> Grant:
        self._owners[request.owner].remove_head(request)
        grant = Grant(request.key, request.owner, request.shape, request.kind, request)
        self._hold(grant)
        self.needs.started(request.key)
        if request.arguments:
            self.admission.admit(request.key, request.arguments, request.output)
        return grant

    def _hold(self, grant: Grant) -> None:
        grant.held = self._shape(grant.shape)
        grant.reserved = grant.held.get("memory", 0)
        self.grants[grant.key] = grant
        self._take(grant)

    def _take(self, grant: Grant) -> None:
        self.pool.take(grant.held)
        if grant.kind is Kind.ACTOR:
            self._lasting.take(grant.held)

    def _give(self, grant: Grant) -> None:
        self.pool.give(grant.held)
        if grant.kind is Kind.ACTOR:
            self._lasting.give(grant.held)
        self.admission.end(grant.key)

    # --- recalls ---------------------------------------------------------------------------------

    def _lacking(self, owner_id: bytes) -> tuple[set[str], set[str]]:
        """Return the resources that an owner's requests, and its leases, wait for."""
        owner = self._owners[owner_id]
        for_requests: set[str] = set()
        for_leases: set[str] = set()
        for shape in owner.leases_wanted:
            if self.is_attainable(shape):
                for_leases |= self.pool.short_of(self._shape(shape))
        for head in owner.heads():
            if self.is_attainable(head.shape) and self._memory_allows(head):
                for_requests |= self.pool.short_of(self._shape(head.shape))
        return for_requests, for_leases

    def _lease_to_recall(
        self, owner: OwnerQueue, for_requests: set[str], for_leases: set[str]
    ) -> Grant | None:
        """Return a lease whose end would help an owner without being unfair to its holder."""
        for grant in self._recallable():
            names = grant.held
            if not for_requests.isdisjoint(names):
                return grant
            if for_leases.isdisjoint(names):
                continue
            holder = self._owners.get(grant.owner)
            if holder is owner:
                # Our own leases of another shape wait behind this one.
                if any(shape != grant.shape for shape in owner.leases_wanted):
                    return grant
            elif holder is not None:
                # A difference of one is as fair as it gets, unless it is all or nothing.
                fair = owner.leases_held + 1 if owner.leases_held else 0
                if holder.leases_held > fair:
                    return grant
        return None

    def _recall_for_turn(self) -> list[Grant]:
        """Recall all that is missing for whom the free resources are kept: they lie idle."""
        turn = self._turn_to_keep_for()
        if turn is None:
            return []
        coming = ResourcePool(self.pool.available)
        for grant in self.grants.values():
            if grant.recalled and not grant.lent:
                coming.give(grant.held)
        recalled = []
        for grant in self._recallable():
            short = coming.short_of(self._shape(turn[1]))
            is_own = (grant.owner, grant.shape) == turn  # would only be exchanged for its like
            if not is_own and not short.isdisjoint(grant.held):
                grant.recalled = True
                coming.give(grant.held)
                recalled.append(grant)
        return recalled

    def _recallable(self) -> Iterator[Grant]:
        for grant in self.grants.values():
            if grant.kind is Kind.LEASE and not (grant.recalled or grant.lent):
                yield grant

    # --- small things ----------------------------------------------------------------------------

    def _owner(self, owner_id: bytes) -> OwnerQueue:
        owner = self._owners.get(owner_id)
        if owner is None:
            owner = self._owners[owner_id] = OwnerQueue()
            self._turns.append(owner_id)
        return owner

    def _shape(self, packed: bytes) -> dict[str, int]:
        shape = _unpacked(packed)
        return self._with_memory(shape) if EXPECTED_MEMORY in shape else shape

    def _with_memory(self, shape: dict[str, int]) -> dict[str, int]:
        """Return a shape with what is expected as memory, as far as the actors leave it."""
        needed = {name: n for name, n in shape.items() if name != EXPECTED_MEMORY}
        memory = min(shape[EXPECTED_MEMORY], self._lasting.available.get("memory", 0))
        return {**needed, "memory": memory} if memory > 0 else needed

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree."""
        self.pool.validate()
        self._lasting.validate()
        self.admission.validate()
        self.needs.validate()
        assert self._overtaken.owners() <= self._owners.keys()
        used: dict[str, int] = {}
        for grant in self.grants.values():
            if not grant.lent:
                for name, needed in grant.held.items():
                    used[name] = used.get(name, 0) + needed
        for name, total in self.pool.total.items():
            assert total - used.get(name, 0) == self.pool.available[name], (name, used)
        for owner_id, owner in self._owners.items():
            held = sum(g.owner == owner_id and g.kind is Kind.LEASE for g in self.grants.values())
            assert held == owner.leases_held, (owner_id, held, owner.leases_held)
            owner.validate()
