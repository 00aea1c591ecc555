"""The names of actors, as the head keeps them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from millpond.node.actor_names import NameService
from millpond.wire import messages as m

OWNER, OTHER = b"nod1driv", b"nod2driv"


def actor(name: str, owner: bytes = OWNER, number: int = 1) -> m.NamedActor:
    return m.NamedActor(name, owner + number.to_bytes(8, "big"), "Class", ["method"], 0)


@pytest.fixture
def names() -> NameService:
    service = NameService()
    for number, name in enumerate(("counter", "counters", "log")):
        service.name(actor(name, number=number))
    return service


def ask(names: NameService, question: Any) -> Any:
    heard: list[Any] = []

    class Peer:
        def send(self, message: Any) -> None:
            heard.append(message)

    names.handlers[type(question)](cast("Any", Peer()), question)
    names.validate()
    return heard[0] if heard else None


def test_a_name_belongs_to_the_first_until_it_is_dead(names: NameService) -> None:
    first, second = actor("log", number=2), actor("log", OTHER)
    assert ask(names, m.NameActor(7, second)) == m.ActorFound(7, first)
    ask(names, m.FreeName(second.actor_id))  # of one that never had it
    assert ask(names, m.FindActor(8, "log")) == m.ActorFound(8, first)
    ask(names, m.FreeName(first.actor_id))
    assert ask(names, m.NameActor(9, second)) == m.ActorFound(9, second)
    ask(names, m.FreeName(first.actor_id))
    assert ask(names, m.FindActor(10, "log")) == m.ActorFound(10, second)


def test_who_asks_for_an_unknown_name_is_told_those_that_are_like_it(names: NameService) -> None:
    assert ask(names, m.FindActor(1, "cuonter")) == m.ActorFound(1, None, ["counter", "counters"])
    assert ask(names, m.FindActor(1, "xyz")) == m.ActorFound(1, None, [])


@pytest.mark.parametrize("gone", [OTHER, OTHER[:4]])
def test_names_go_with_the_process_or_the_node_that_owns_the_actors(
    names: NameService, gone: bytes
) -> None:
    names.name(actor("theirs", OTHER))
    names.gone(gone)
    names.validate()
    assert ask(names, m.ListActorNames(1)) == m.ActorNames(1, ["counter", "counters", "log"])
