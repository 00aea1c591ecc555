from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from millpond.objectstore.mapping import ArenaMapping
from millpond.owner.heavy_imports import HeavyImports
from millpond.owner.runtime import Runtime
from millpond.wire.framing import FrameDecoder
from millpond.wire.ids import ProcessId, driver_of, new_node_id
from millpond.wire.messages import STORED, DeleteObjects, Hello, UnpinObjects, Value


class Node:
    """The node's end of a runtime's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._decoder = FrameDecoder()
        self._received: list[msgspec.Struct] = []

    def next_message(self) -> msgspec.Struct:
        while not self._received:
            self._received += self._decoder.feed(self.sock.recv(4096))
        return self._received.pop(0)


@pytest.fixture
def node_and_runtime(tmp_path: Path) -> Iterator[tuple[Node, Runtime]]:
    arena = os.memfd_create("arena")
    os.ftruncate(arena, 1 << 16)
    follow_none = HeavyImports(follow=False)
    runtime = Runtime(str(tmp_path), ArenaMapping(arena, 1 << 16), "driver", follow_none)
    os.close(arena)
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    runtime.start(driver_of(new_node_id()), ours)
    node = Node(theirs)
    assert isinstance(node.next_message(), Hello)
    yield node, runtime
    runtime.close()
    theirs.close()


def test_what_died_is_released_soon_without_anybody_asking(
    node_and_runtime: tuple[Node, Runtime],
) -> None:
    node, runtime = node_and_runtime
    for _ in range(3):
        object_id = runtime.ids.reserve(1)
        with runtime.lock:
            entry, ref = runtime.objects.own(object_id)
            runtime.objects.finish(entry, Value(STORED, size=10))
        del ref, entry
        assert node.next_message() == DeleteObjects([object_id])


def test_dead_refs_and_pins_are_released_together(node_and_runtime: tuple[Node, Runtime]) -> None:
    node, runtime = node_and_runtime
    objects = []
    with runtime.lock:
        for _ in range(10):
            entry, ref = runtime.objects.own(runtime.ids.reserve(1))
            runtime.objects.finish(entry, Value(STORED, size=10))
            objects.append(ref)
    ids = [ref.id for ref in objects]
    with runtime.releaser._draining:
        runtime.releaser.dropped(b"pin")
        objects.clear()
        del ref, entry
    runtime.releaser.drain()
    messages = [node.next_message(), node.next_message()]
    assert messages[0] == UnpinObjects([b"pin"])
    assert isinstance(messages[1], DeleteObjects)
    assert sorted(messages[1].object_ids) == ids


def test_refs_that_outlive_the_runtime_are_ignored(
    node_and_runtime: tuple[Node, Runtime],
) -> None:
    _, runtime = node_and_runtime
    entry, ref = runtime.objects.own(runtime.ids.reserve(1))
    assert ProcessId(ref.id[:8]) == runtime.process_id
    runtime.close()
    assert runtime.closed
    del ref, entry
    runtime.releaser.dropped(b"pin")
    runtime.releaser.drain()
