"""In which order waiting tasks are looked at, and what is restored ahead for them."""

from __future__ import annotations

import random

from millpond.scheduler.prefetch import worth_restoring
from millpond.scheduler.queue import Kind, LeaseQueue, Request
from millpond.scheduler.resources import pack_shape

A, B = b"owner-A", b"owner-B"
ONE, TWO = pack_shape({"CPU": 1}), pack_shape({"CPU": 2})


def queue_of(*requests: Request, cpus: int = 1, capacity: int = 100) -> LeaseQueue:
    queue = LeaseQueue({"CPU": cpus}, capacity)
    for request in requests:
        queue.add(request)
    return queue


def task(key: str, order: int, owner: bytes = A, output: int = 0, **arguments: int) -> Request:
    sizes = {name.encode(): size for name, size in arguments.items()}
    return Request(key, owner, ONE, order, Kind.TASK, sizes, output)


def test_upcoming_is_the_order_of_the_grants() -> None:
    rng = random.Random(1)
    orders = rng.sample(range(1000), 60)
    queue = queue_of(*[Request(order, rng.choice([A, B]), ONE, order) for order in orders])
    for key in rng.sample(orders, 10):
        queue.withdraw(key)
    expected = [request.key for request in queue.upcoming()]
    assert len(expected) == 50
    granted = []
    while grants := queue.next_grants(1):
        granted.append(grants[0].key)
        queue.release(grants[0].key)
    assert expected == granted


def test_upcoming_merges_the_shapes_of_an_owner() -> None:
    queue = queue_of(
        *(Request(order, A, shape, order) for order, shape in enumerate([TWO, ONE, ONE, TWO, ONE]))
    )
    assert [request.key for request in queue.upcoming()] == [0, 1, 2, 3, 4]
    assert queue.owners() == [A]


def test_arguments_of_the_next_tasks_are_restored_as_far_as_they_fit() -> None:
    queue = queue_of(
        task("runs", 0, a=30, b=10),
        task("next", 1, b=10, c=20, d=20, output=15),
        task("after", 2, d=20, e=5, f=20),
        task("last", 3, g=1),
    )
    queue.next_grants(1)
    everything = list(worth_restoring(queue, lambda _: True))
    assert everything == [b"c", b"d", b"e"], "60 bytes are free, of which 15 for the output"
    assert list(worth_restoring(queue, lambda oid: oid == b"e")) == [b"e"]


def test_no_more_is_restored_than_what_admitted_tasks_leave() -> None:
    queue = queue_of(task("runs", 0, output=50, a=50), task("next", 1, b=1))
    assert list(worth_restoring(queue, lambda _: True)) == [b"a"]
    queue.next_grants(1)
    assert list(worth_restoring(queue, lambda _: True)) == []
