"""A node with a lease queue whose tests are short to write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator

from millpond.scheduler.queue import Grant, Kind, LeaseQueue, Request
from millpond.scheduler.resources import pack_shape

A, B, C = b"owner-A", b"owner-B", b"owner-C"
CAPACITY = 100
ONE, TWO = pack_shape({"CPU": 1}), pack_shape({"CPU": 2})
NOTHING = pack_shape({})
GPU = pack_shape({"GPU": 1})
MANY = 1000


class Node:
    """A queue, and owners who give leases back when they are asked to, and want new ones."""

    def __init__(self, cpus: int = 2, gpus: int = 0) -> None:
        self.queue = LeaseQueue({"CPU": cpus, "GPU": gpus}, CAPACITY)
        self.orders: Iterator[int] = iter(range(MANY * MANY))
        self.held: list[Grant] = []
        #: owners (and shapes) with more tasks than will ever be done
        self.greedy: list[tuple[bytes, bytes]] = []
        self.recalls = 0
        #: leases that each owner held, summed over the rounds
        self.shares: Counter[bytes] = Counter()

    def task(
        self,
        key: Hashable,
        owner: bytes = A,
        shape: bytes = ONE,
        kind: Kind = Kind.TASK,
        output: int = 0,
        **arguments: int,
    ) -> None:
        sizes = {name.encode(): size for name, size in arguments.items()}
        request = Request(key, owner, shape, next(self.orders), kind, sizes, output)
        self.queue.add(request)

    def lease(self, owner: bytes, count: int = 1, shape: bytes = ONE) -> None:
        self.queue.want_leases(owner, shape, count, next(self.orders))

    def grant(self, limit: int = MANY) -> list[Grant]:
        granted = self.queue.next_grants(limit)
        self.held += granted
        self.queue.validate()
        return granted

    def served(self) -> list[Hashable]:
        """Grant; return the names of tasks and the owners of leases."""
        return [g.owner if g.kind is Kind.LEASE else g.key for g in self.grant()]

    def end(self, grant: Grant) -> None:
        self.held.remove(grant)
        self.queue.release(grant.key)
        self.queue.validate()

    def end_of(self, key: Hashable) -> None:
        self.end(next(g for g in self.held if g.key == key))

    def holders(self) -> list[bytes]:
        return sorted(g.owner for g in self.held if g.kind is Kind.LEASE)

    def round(self) -> list[Grant]:
        """One round of the node's life: everybody wants more, grants, and recalls."""
        for owner, shape in self.greedy:
            self.lease(owner, MANY, shape)
        granted = self.grant()
        self.shares += Counter(self.holders())
        for grant in self.queue.recalls():
            self.recalls += 1
            assert grant.recalled
            self.end(grant)
        return granted

    def rounds_until(self, wanted: Callable[[Grant], bool], limit: int = 100) -> int:
        for count in range(limit):
            if any(wanted(grant) for grant in self.round()):
                return count
        raise AssertionError(f"not granted in {limit} rounds")
