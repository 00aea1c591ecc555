from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.objectstore.allocator import ALIGNMENT, Allocator, block_size


class NaiveAllocator:
    """Marks every unit of a small arena, and looks for room one unit after the other."""

    def __init__(self, capacity: int) -> None:
        self.taken = [False] * (capacity // ALIGNMENT)

    def largest_gap(self) -> int:
        longest = length = 0
        for taken in self.taken:
            length = 0 if taken else length + 1
            longest = max(longest, length)
        return longest * ALIGNMENT

    def mark(self, offset: int, size: int, *, taken: bool) -> None:
        units = range(offset // ALIGNMENT, (offset + block_size(size)) // ALIGNMENT)
        assert all(self.taken[unit] is not taken for unit in units)
        for unit in units:
            self.taken[unit] = taken


@given(
    capacity=st.integers(0, 2000),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 700)), max_size=80),
)
def test_agrees_with_a_naive_model(capacity: int, steps: list[tuple[bool, int]]) -> None:
    allocator, model = Allocator(capacity), NaiveAllocator(capacity)
    blocks: list[tuple[int, int]] = []
    for is_allocation, number in steps:
        if is_allocation:
            offset = allocator.allocate(number)
            assert (offset is not None) is (block_size(number) <= model.largest_gap())
            if offset is not None:
                assert offset % ALIGNMENT == 0
                model.mark(offset, number, taken=True)
                blocks.append((offset, number))
        elif blocks:
            offset, size = blocks.pop(number % len(blocks))
            allocator.free(offset)
            model.mark(offset, size, taken=False)
        allocator.validate()
        assert allocator.used == ALIGNMENT * sum(model.taken)
        assert allocator.largest_free == model.largest_gap()
        assert allocator.blocks() == sorted((start, block_size(size)) for start, size in blocks)


def test_takes_the_smallest_piece_that_fits() -> None:
    allocator = Allocator(64 * 100)
    offsets = [allocator.allocate(64 * size) for size in (5, 1, 2, 1, 3, 1)]
    for offset in offsets[::2]:
        assert offset is not None
        allocator.free(offset)
    assert allocator.allocate(64 * 2) == offsets[2]
    assert allocator.allocate(64 * 3) == offsets[4]
    assert allocator.allocate(64 * 4) == offsets[0]


def test_prefers_memory_that_was_used_before() -> None:
    allocator = Allocator(64 * 100)
    first = allocator.allocate(64 * 10)
    assert first == 0
    allocator.allocate(64)
    allocator.free(first)
    assert allocator.high_water_offset == 64 * 11
    assert allocator.allocate(64 * 3) == 0
    assert allocator.allocate(64 * 7) == 64 * 3
    assert allocator.high_water_offset == 64 * 11


def test_grows_from_the_free_piece_at_the_top() -> None:
    allocator = Allocator(64 * 10)
    kept, top = allocator.allocate(64 * 2), allocator.allocate(64 * 4)
    assert kept == 0
    assert top is not None
    allocator.free(top)
    assert allocator.largest_free == 64 * 8
    assert allocator.allocate(64 * 8) == 64 * 2
    assert allocator.high_water_offset == allocator.capacity


def test_an_empty_object_has_a_place_of_its_own() -> None:
    allocator = Allocator(64 * 2)
    assert {allocator.allocate(0), allocator.allocate(0)} == {0, 64}
    assert allocator.allocate(0) is None


def test_free_space_in_pieces_is_told_apart() -> None:
    allocator = Allocator(64 * 3)
    offsets = [allocator.allocate(64) for _ in range(3)]
    for offset in offsets[::2]:
        assert offset is not None
        allocator.free(offset)
    assert allocator.allocate(65) is None
    statistics = allocator.statistics()
    assert statistics.used == 64
    assert statistics.peak == 64 * 3
    assert statistics.blocks == 1
    assert statistics.largest_free == 64
    assert statistics.high_water_offset == statistics.capacity == 64 * 3


@pytest.mark.parametrize("offset", [64, 1, -64])
def test_frees_only_what_was_allocated(offset: int) -> None:
    allocator = Allocator(640)
    allocator.allocate(128)
    with pytest.raises(ValueError, match=f"no block starts at offset {offset}"):
        allocator.free(offset)
    allocator.free(0)
    with pytest.raises(ValueError, match="no block starts at offset 0"):
        allocator.free(0)
    allocator.validate()


def test_rejects_negative_sizes() -> None:
    with pytest.raises(ValueError, match="-1"):
        Allocator(-1)
    with pytest.raises(ValueError, match="-1"):
        Allocator(64).allocate(-1)


def test_thousands_of_blocks() -> None:
    rng = random.Random(7)
    allocator = Allocator(64 << 20)
    blocks: list[int] = []
    for _ in range(5000):
        offset = allocator.allocate(rng.randrange(8000))
        assert offset is not None
        blocks.append(offset)
        if rng.random() < 0.4:
            allocator.free(blocks.pop(rng.randrange(len(blocks))))
    allocator.validate()
    rng.shuffle(blocks)
    for offset in blocks:
        allocator.free(offset)
    allocator.validate()
    assert allocator.used == 0
    assert allocator.largest_free == allocator.capacity
