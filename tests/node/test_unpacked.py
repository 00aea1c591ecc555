from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from millpond.node.unpacked import Answer, Command, Remove, UnpackedPackages

NODE = b"here"
DRIVER = b"far-driv"
A, B, C = (NODE + name for name in (b"---a", b"---b", b"---c"))
DIGEST = b"digest"


class Node:
    """Checks the books after every event."""

    def __init__(self) -> None:
        self.packages = UnpackedPackages()

    def use(self, worker: bytes, request: int = 1, maker: bytes = DRIVER) -> list[Command]:
        return self.checked(self.packages.use(DIGEST, maker, worker, request))

    def unpacked(self, worker: bytes, *, done: bool = True) -> list[Command]:
        return self.checked(self.packages.unpacked(DIGEST, worker, done=done))

    def gone(self, any_id: bytes) -> list[Command]:
        return self.checked(self.packages.gone(any_id))

    def checked(self, commands: list[Command]) -> list[Command]:
        self.packages.validate()
        return commands


def unpack(worker: bytes, request: int = 1) -> Command:
    return Answer(worker, request, DIGEST, unpack=True)


def present(worker: bytes, request: int = 1) -> Command:
    return Answer(worker, request, DIGEST, unpack=False)


def test_the_first_unpacks_while_the_others_wait() -> None:
    node = Node()
    assert node.use(A, 5) == [unpack(A, 5)]
    assert node.use(B, 6) == node.use(C, 7) == []
    assert node.unpacked(A) == [present(B, 6), present(C, 7)]
    assert node.use(A, 8) == [present(A, 8)]


def test_who_fails_or_dies_leaves_it_to_the_next() -> None:
    node = Node()
    node.use(A)
    node.use(B)
    node.use(C)
    assert node.unpacked(A, done=False) == [unpack(B)]
    assert node.gone(B) == [unpack(C)]
    assert node.unpacked(C) == []
    assert node.use(A) == [present(A)]


def test_who_dies_while_it_waits_gets_no_answer() -> None:
    node = Node()
    node.use(A)
    node.use(B)
    assert node.gone(B) == []
    assert node.unpacked(A) == []


def test_it_stays_for_the_next_worker_as_long_as_its_maker_lives() -> None:
    node = Node()
    node.use(A)
    node.unpacked(A)
    assert node.gone(A) == []
    assert node.use(B) == [present(B)]
    assert node.gone(B) == []
    assert node.gone(DRIVER) == [Remove(DIGEST)]
    assert node.use(C) == [unpack(C)]


def test_it_stays_as_long_as_it_is_used_though_its_maker_is_gone() -> None:
    node = Node()
    node.use(A)
    node.unpacked(A)
    node.use(B, maker=b"far-2nd-")
    assert node.gone(DRIVER) == []
    assert node.gone(A) == []
    assert node.gone(b"far-2nd-") == []
    assert node.gone(B) == [Remove(DIGEST)]


def test_the_loss_of_a_node_is_that_of_its_processes() -> None:
    node = Node()
    node.use(A)
    node.unpacked(A)
    assert node.gone(DRIVER[:4]) == []
    assert node.gone(A) == [Remove(DIGEST)]


def test_an_answer_that_comes_too_late_says_nothing() -> None:
    node = Node()
    assert node.unpacked(A) == []
    node.use(A)
    node.use(B)
    assert node.gone(A) == [unpack(B)]
    assert node.unpacked(A) == []
    assert node.unpacked(B) == []
    assert node.use(C) == [present(C)]


events = st.lists(
    st.tuples(
        st.sampled_from(["use", "done", "failed", "gone"]), st.sampled_from([A, B, C, DRIVER])
    )
)


@given(events)
def test_one_unpacks_at_a_time_and_nobody_waits_for_nobody(
    happened: Sequence[tuple[str, bytes]],
) -> None:
    node = Node()
    waiting: set[bytes] = set()
    unpacking: set[bytes] = set()
    there = False

    def note(commands: list[Command]) -> None:
        nonlocal there
        for command in commands:
            if isinstance(command, Remove):
                assert not unpacking
                there = False
                continue
            waiting.remove(command.worker)
            assert command.unpack is not there
            if command.unpack:
                unpacking.add(command.worker)

    for event, who in happened:
        if event == "gone":
            waiting.discard(who)
            unpacking.discard(who)
            note(node.gone(who))
        elif event == "use" and who != DRIVER and who not in waiting | unpacking:
            waiting.add(who)
            note(node.use(who))
        elif event in ("done", "failed") and who in unpacking:
            unpacking.remove(who)
            there = event == "done"
            note(node.unpacked(who, done=there))
        assert len(unpacking) <= 1
        assert unpacking or not waiting
