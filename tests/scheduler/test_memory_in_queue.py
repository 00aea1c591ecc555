"""Memory in the queue: what is expected, what is seen, and requests that get other shapes."""

from __future__ import annotations

import pytest

from millpond.scheduler.queue import Grant, Kind, LeaseQueue, Request
from millpond.scheduler.resources import (
    EXPECTED_MEMORY,
    UNIT,
    expecting,
    pack_shape,
    unpack_shape,
)

CPU = pack_shape({"CPU": UNIT})


def shape(memory: int, name: str = EXPECTED_MEMORY) -> bytes:
    return pack_shape({"CPU": UNIT, name: memory})


class Queue:
    """A queue with 8 CPUs and 100 units of memory, and one owner."""

    def __init__(self) -> None:
        self.queue = LeaseQueue({"CPU": 8 * UNIT, "memory": 100}, 0)
        self.count = 0

    def ask(self, packed: bytes, kind: Kind = Kind.TASK) -> int:
        self.count += 1
        if kind is Kind.LEASE:
            self.queue.want_leases(b"owner", packed, 1, self.count)
        else:
            self.queue.add(Request(self.count, b"owner", packed, self.count, kind))
        return self.count

    def grant(self) -> list[Grant]:
        granted = self.queue.next_grants(100)
        self.queue.validate()
        return granted

    def keys(self) -> list[object]:
        return [grant.key for grant in self.grant()]

    def end(self, key: object) -> None:
        self.queue.release(key)  # type: ignore[arg-type]
        self.queue.validate()


def test_expected_memory_is_reserved_like_declared() -> None:
    queue = Queue()
    a, b = queue.ask(shape(60)), queue.ask(shape(40, "memory"))
    c = queue.ask(shape(1))
    assert queue.keys() == [a, b]
    queue.end(b)
    assert queue.keys() == [c]


def test_nobody_waits_for_memory_that_an_actor_will_never_give() -> None:
    queue = Queue()
    actor = queue.ask(shape(70, "memory"), Kind.ACTOR)
    assert queue.keys() == [actor]
    hard, soft, other = (queue.ask(shape(50, "memory")), queue.ask(shape(50)), queue.ask(shape(20)))
    (grant,) = queue.grant()
    assert (grant.key, grant.reserved) == (soft, 30), "what the actor leaves, and nobody beside it"
    queue.end(soft)
    assert queue.keys() == [other]
    queue.end(actor)
    assert queue.keys() == [hard]


@pytest.mark.parametrize("kind", [Kind.TASK, Kind.LEASE])
def test_what_is_used_is_not_free(kind: Kind) -> None:
    queue = Queue()
    queue.ask(CPU, kind)
    (user,) = queue.grant()
    queue.queue.see_memory(user.key, 60)
    waiting = queue.ask(shape(50))
    assert queue.keys() == []
    queue.queue.see_memory(user.key, 50)
    assert queue.keys() == [waiting]
    queue.queue.see_memory(user.key, 500)
    queue.queue.validate()
    queue.end(user.key)
    assert queue.queue.pool.available == {"CPU": 7 * UNIT, "memory": 50}


def test_what_is_reserved_stays_reserved_though_less_is_used() -> None:
    queue = Queue()
    user = queue.ask(shape(60))
    queue.grant()
    for used in (0, 80, 10):
        queue.queue.see_memory(user, used)
        assert queue.queue.pool.available["memory"] == 100 - max(used, 60)
    queue.queue.see_memory("gone", 50)
    queue.end(user)
    assert queue.queue.pool.available["memory"] == 100


def test_memory_in_use_is_lent_and_taken_back_with_the_slot() -> None:
    queue = Queue()
    user = queue.ask(CPU)
    queue.grant()
    queue.queue.see_memory(user, 60)
    queue.queue.lend(user)
    assert queue.queue.pool.available["memory"] == 100
    queue.queue.see_memory(user, 70)
    assert queue.queue.pool.available["memory"] == 100
    queue.queue.take_back(user)
    assert queue.queue.pool.available["memory"] == 30


def test_what_an_actor_uses_keeps_nobody_waiting() -> None:
    queue = Queue()
    actor = queue.ask(CPU, Kind.ACTOR)
    queue.grant()
    queue.queue.see_memory(actor, 90)
    waiting = queue.ask(shape(50))
    assert queue.keys() == [waiting]


def test_a_lease_is_recalled_for_the_memory_that_its_worker_uses() -> None:
    queue = Queue()
    queue.ask(CPU, Kind.LEASE)
    (lease,) = queue.grant()
    queue.queue.see_memory(lease.key, 60)
    queue.ask(shape(50))
    assert queue.keys() == []
    assert queue.queue.recalls() == [lease]


def test_requests_get_other_shapes_and_keep_their_order() -> None:
    queue = Queue()
    keys = [queue.ask(CPU) for _ in range(4)]
    assert queue.queue.withdraw(keys[1])
    queue.queue.reshape(lambda r: expecting(r.shape, 60) if r.key != keys[3] else r.shape)
    assert queue.keys() == [keys[0], keys[3]]
    queue.end(keys[0])
    assert queue.keys() == [keys[2]]
    assert queue.queue.withdraw(keys[2]) is False


def test_a_shape_expects_at_least_so_much() -> None:
    once = expecting(CPU, 60)
    assert unpack_shape(once) == {"CPU": UNIT, EXPECTED_MEMORY: 60}
    assert expecting(once, 50) == once
    assert unpack_shape(expecting(once, 70))[EXPECTED_MEMORY] == 70
    declared = shape(5, "memory")
    assert expecting(declared, 60) == declared
