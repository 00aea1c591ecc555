from __future__ import annotations

import pytest

from millpond.cluster.membership import Gone, Membership
from millpond.errors import DuplicateNodeError
from millpond.wire.messages.cluster import NodeInfo

HEAD = b"head"
PATIENCE = 10.0


def info(node_id: bytes) -> NodeInfo:
    return NodeInfo(node_id, f"{node_id.decode()}:7600", node_id.decode(), 1, {}, 0, False)


def cluster(*node_ids: bytes) -> Membership:
    membership = Membership(info(HEAD), PATIENCE)
    for node_id in node_ids:
        membership.join(info(node_id), 0.0)
    membership.validate()
    return membership


def test_who_joins_learns_of_all_that_joined_before_the_head_first() -> None:
    membership = cluster(b"one.")
    assert membership.join(info(b"two."), 1.0) == [info(HEAD), info(b"one.")]
    assert membership.find(b"two.") == info(b"two.")
    assert membership.find(HEAD) is None
    membership.validate()


@pytest.mark.parametrize("node_id", [HEAD, b"one."])
def test_two_nodes_of_one_id_cannot_both_be_members(node_id: bytes) -> None:
    membership = cluster(b"one.")
    with pytest.raises(DuplicateNodeError, match=f"{node_id.hex()}.*process 1"):
        membership.join(info(node_id), 1.0)


def test_a_silent_node_is_given_up_and_a_talking_one_is_not() -> None:
    membership = cluster(b"one.", b"two.")
    membership.heard(b"two.", 8.0)
    assert membership.check(10.0) == []
    (gone,) = membership.check(10.5)
    assert gone.node_id == b"one."
    assert "10.5 s" in gone.reason
    assert membership.find(b"one.") is None
    assert membership.check(11.0) == []


def test_a_node_is_lost_once() -> None:
    membership = cluster(b"one.")
    assert membership.lost(b"one.", "it left") == [Gone(b"one.", "it left")]
    assert membership.lost(b"one.", "its connection broke") == []
    assert membership.lost(HEAD, "nonsense") == []
    membership.heard(b"one.", 1.0)
    assert membership.find(b"one.") is None


def test_of_two_nodes_that_cannot_reach_each_other_the_younger_goes() -> None:
    for reporter, other in ((b"one.", b"two."), (b"two.", b"one.")):
        membership = cluster(b"one.", b"two.", b"tri.")
        membership.unreachable(reporter, other, 1.0)
        membership.unreachable(other, reporter, 1.5)
        assert membership.check(2.9) == []
        membership.validate()
        (gone,) = membership.check(3.0)
        assert gone.node_id == b"two."
        assert b"one.".hex() in gone.reason
        assert membership.check(9.0) == []


def test_a_node_that_never_came_goes_before_one_that_did() -> None:
    membership = cluster(b"one.", b"two.")
    membership.linked(b"two.")
    membership.unreachable(b"two.", b"one.", 1.0)
    (gone,) = membership.check(3.0)
    assert gone.node_id == b"one."
    assert membership.find(b"two.") is not None


def test_nobody_else_goes_when_the_unreachable_node_turns_out_dead() -> None:
    membership = cluster(b"one.", b"two.")
    membership.unreachable(b"two.", b"one.", 1.0)
    assert membership.lost(b"one.", "its connection broke")
    membership.validate()
    assert membership.check(5.0) == []
    assert membership.find(b"two.") is not None


def test_reports_of_nodes_that_are_no_members_change_nothing() -> None:
    membership = cluster(b"one.")
    membership.unreachable(b"one.", b"gone", 1.0)
    membership.unreachable(b"gone", b"one.", 1.0)
    membership.unreachable(b"one.", b"one.", 1.0)
    membership.unreachable(b"one.", HEAD, 1.0)
    assert membership.check(9.0) == []
    membership.validate()
