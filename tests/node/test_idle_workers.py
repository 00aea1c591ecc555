from __future__ import annotations

from dataclasses import dataclass

from millpond.node.idle_workers import IdleWorkers


@dataclass(eq=False)
class Worker:
    name: str
    environment: bytes = b""


class Pool:
    """Notes who got which worker."""

    def __init__(self, *workers: Worker) -> None:
        self.idle: IdleWorkers[Worker] = IdleWorkers()
        for worker in workers:
            self.idle.add(worker)
        self.served: list[tuple[str, str]] = []

    def wait(self, name: str, environment: bytes = b"") -> None:
        self.idle.wait(environment, lambda worker: self.served.append((name, worker.name)))

    def serve(self) -> list[tuple[str, str]]:
        while (match := self.idle.next_match()) is not None:
            worker, take = match
            take(worker)
        served, self.served = self.served, []
        return served


def test_the_one_that_was_used_last_is_the_next() -> None:
    pool = Pool(Worker("cold"), Worker("warm"))
    pool.wait("1")
    assert pool.serve() == [("1", "warm")]
    assert [worker.name for worker in pool.idle.longest_idle()] == ["cold"]


def test_who_waits_gets_a_worker_of_its_environment_or_none() -> None:
    pool = Pool(Worker("plain"), Worker("x", b"x"), Worker("plain 2"))
    pool.wait("1", b"x")
    pool.wait("2", b"y")
    pool.wait("3")
    pool.wait("4", b"x")
    assert pool.serve() == [("1", "x"), ("3", "plain 2")]
    assert pool.idle.lacking([]) == [b"y", b"x"]
    pool.idle.add(Worker("x 2", b"x"))
    assert pool.serve() == [("4", "x 2")]
    assert pool.idle.are_awaited
    pool.idle.add(Worker("y", b"y"))
    assert pool.serve() == [("2", "y")]
    assert not pool.idle.are_awaited
    assert len(pool.idle) == 1


def test_those_who_wait_for_the_same_are_served_in_turn() -> None:
    pool = Pool()
    pool.wait("1", b"x")
    pool.wait("2", b"x")
    pool.idle.add(Worker("a", b"x"))
    assert pool.serve() == [("1", "a")]


def test_what_is_on_its_way_is_not_asked_for_again() -> None:
    pool = Pool()
    for name, environment in (("1", b"x"), ("2", b""), ("3", b"x"), ("4", b"y")):
        pool.wait(name, environment)
    assert pool.idle.lacking([]) == [b"x", b"", b"x", b"y"]
    assert pool.idle.lacking([b"x", b"z", b"y"]) == [b"", b"x"]
    assert pool.idle.lacking([b"x", b"x", b"x", b"", b"y"]) == []


def test_who_is_not_to_be_given_away_is_not() -> None:
    worker = Worker("a")
    pool = Pool(worker)
    pool.idle.discard(worker)
    pool.idle.discard(worker)
    pool.wait("1")
    assert pool.serve() == []
