from __future__ import annotations

from typing import Any

import pytest

from millpond.errors import NodeDiedError, ObjectStoreFullError, OutOfDiskError
from millpond.owner.store_client import StoreClient
from millpond.serialization.values import serialize
from millpond.wire import messages as m
from tests.report.reports import MIB, store

OID = b"o" * 16


class FakeNode:
    """Refuses every create, and makes reports while it lives."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.dead = False
        self.asked: list[Any] = []
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def ask(self, connection: Any, message: Any) -> Any:
        self.asked.append(message)
        if isinstance(message, m.CreateObjects):
            refused = m.Location(m.REFUSED, reason=self.reason)
            granted = [m.Location(m.IN_ARENA, 0, 1)] * (len(message.object_ids) - 1)
            return m.Locations(1, [*granted, refused])
        if self.dead:
            raise NodeDiedError("it died")
        return m.MemoryState(
            request=1,
            objects=[m.StoredObject(OID, 5 * MIB, "in memory", True, False, {})],
            total_bytes=5 * MIB,
            waiting_bytes=0,
            owners=[],
            silent=[],
            processes=[],
            store=store(num_objects=1, used=5 * MIB, capacity=8 * MIB),
            spill_location="/spill",
            spill_free=3,
        )


def write(node: FakeNode, count: int = 1) -> None:
    client = StoreClient(None, node, node, lambda _: None)  # type: ignore[arg-type]
    value = serialize(bytes(4 * MIB), "a value")
    client.write([(bytes([number]) * 16, value) for number in range(count)])


def test_a_full_store_is_an_error_with_its_holders() -> None:
    node = FakeNode("full: no room")
    with pytest.raises(ObjectStoreFullError, match="no room") as caught:
        write(node)
    assert [holder.id for holder in caught.value.holders] == [OID.hex()]
    assert caught.value.requested_bytes > 4 * MIB
    assert OID.hex() in str(caught.value)


def test_a_full_disk_is_an_error_with_its_figures() -> None:
    with pytest.raises(OutOfDiskError, match="no room") as caught:
        write(FakeNode("no-disk: no room"))
    assert (caught.value.spill_location, caught.value.free_bytes) == ("/spill", 3)
    assert caught.value.waiting_bytes == caught.value.requested_bytes > 4 * MIB


def test_what_was_granted_beside_is_given_back() -> None:
    node = FakeNode("full: no room")
    with pytest.raises(ObjectStoreFullError):
        write(node, count=3)
    assert node.sent == [m.AbortObjects([b"\0" * 16, b"\1" * 16])]


def test_a_node_that_dies_meanwhile_does_not_hide_the_refusal() -> None:
    node = FakeNode("full: no room")
    node.dead = True
    with pytest.raises(ObjectStoreFullError, match="no room"):
        write(node)
