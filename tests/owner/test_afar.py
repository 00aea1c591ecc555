"""A runtime that talks to processes of other nodes, with a simulated node."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from millpond.errors import NodeDiedError
from millpond.owner.runtime import Runtime
from millpond.wire import messages as m
from millpond.wire.framing import decode_message, encode_frame, encode_message
from millpond.wire.ids import node_of

from .test_releaser import Node, node_and_runtime

__all__ = ["node_and_runtime"]

THERE = b"nod2"
THEIRS = THERE + b"work"


def tell(node: Node, *messages: Any) -> None:
    for message in messages:
        node.sock.sendall(encode_frame(message))


def routed(node: Node) -> tuple[bytes, Any]:
    """Return the target and the message of what is to be passed on next."""
    message = node.next_message()
    assert isinstance(message, m.Routed)
    return message.target, decode_message(message.body)


def test_a_question_of_a_far_process_is_answered_through_the_node(
    node_and_runtime: tuple[Node, Runtime],
) -> None:
    node, runtime = node_and_runtime
    question = m.FetchFunction(3, b"unknown")
    tell(node, m.Routed(runtime.process_id, THEIRS, encode_message(question)))
    assert routed(node) == (THEIRS, m.FunctionBlob(3, None))


def test_who_waits_for_a_process_of_a_node_that_is_lost_is_told(
    node_and_runtime: tuple[Node, Runtime],
) -> None:
    node, runtime = node_and_runtime
    errors: list[BaseException] = []

    def ask() -> None:
        peer = runtime.peer(THEIRS)
        with pytest.raises(NodeDiedError) as caught:
            runtime.requests.ask(peer, m.Borrow(0, [b"x"], b"y"))
        errors.append(caught.value)

    thread = threading.Thread(target=ask)
    thread.start()
    target, _ = routed(node)
    assert target == THEIRS
    tell(node, m.NodeLost(THERE, "its machine is off"))
    thread.join(10)
    assert "its machine is off" in str(errors[0])
    assert runtime.peer(THEIRS) is None
    assert runtime.node_near(THEIRS) is None


def test_a_process_that_died_is_gone_and_others_of_its_node_are_not(
    node_and_runtime: tuple[Node, Runtime],
) -> None:
    node, runtime = node_and_runtime
    assert runtime.peer(THEIRS) is not None
    tell(node, m.ProcessDied(THEIRS), m.Routed(runtime.process_id, THERE, b"garbage"))
    tell(node, m.Routed(runtime.process_id, THERE, encode_message(m.FetchFunction(1, b"x"))))
    assert routed(node) == (THERE, m.FunctionBlob(1, None))
    assert runtime.peer(THEIRS) is None
    assert runtime.peer(THERE + b"othr") is not None


def test_a_copy_of_what_was_freed_is_deleted_where_it_is(
    node_and_runtime: tuple[Node, Runtime],
) -> None:
    node, runtime = node_and_runtime
    freed = runtime.ids.reserve(1)
    tell(node, m.CopiesMade(THERE, [freed]))
    assert routed(node) == (THERE, m.DeleteObjects([freed]))


def test_all_copies_are_deleted_with_the_object(node_and_runtime: tuple[Node, Runtime]) -> None:
    node, runtime = node_and_runtime
    object_id = runtime.ids.reserve(1)
    with runtime.lock:
        entry, ref = runtime.objects.own(object_id)
        runtime.objects.finish(entry, m.Value(m.STORED, size=10, nodes=[THERE]))
    del ref, entry
    assert node.next_message() == m.DeleteObjects([object_id])
    assert routed(node) == (THERE, m.DeleteObjects([object_id]))


def test_its_own_node_is_reached_directly(node_and_runtime: tuple[Node, Runtime]) -> None:
    _, runtime = node_and_runtime
    assert runtime.node_near(node_of(runtime.process_id)) is runtime.node
