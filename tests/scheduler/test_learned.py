from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millpond.scheduler.learned import GRAIN, LearnedMemory, LearnedOutputs, coarse

MIB = 1 << 20
F, G = (b"function", "f"), (b"function", "g")


def test_a_gibibyte_and_a_little_is_not_counted_as_two() -> None:
    assert coarse(1024 * MIB) == 1024 * MIB
    assert coarse(1024 * MIB + 1) == 1280 * MIB
    assert coarse(GRAIN) == GRAIN
    assert coarse(GRAIN - 1) == 0


@given(st.integers(GRAIN, 1 << 45))
def test_coarse_sizes_are_enough_and_at_most_a_quarter_too_large(size: int) -> None:
    assert size <= coarse(size) <= 1.25 * size
    assert coarse(coarse(size)) == coarse(size)


def test_there_are_few_coarse_sizes() -> None:
    assert len({coarse(size * MIB) for size in range(64, 64 << 10)}) == 41


def test_small_functions_are_never_expected_to_need_anything() -> None:
    learned = LearnedMemory()
    assert not any(learned.learn(F, peak * MIB) for peak in range(64))
    assert learned.expect(F) == 0


def test_one_run_says_what_the_next_needs() -> None:
    learned = LearnedMemory()
    assert learned.learn(F, 1024 * MIB)
    assert learned.expect(F) == 1024 * MIB
    assert learned.expect(G) == 0
    assert not learned.learn(F, 1000 * MIB), "no more than before"
    assert learned.learn(F, 1100 * MIB)
    assert learned.expect(F) == 1280 * MIB


def test_an_outlier_counts_while_little_is_known_and_is_forgotten_with_time() -> None:
    learned = LearnedMemory()
    learned.learn(F, 1024 * MIB)
    for _ in range(8):
        learned.learn(F, 100 * MIB)
        assert learned.expect(F) == 1024 * MIB
    learned.learn(F, 100 * MIB)
    assert learned.expect(F) == 112 * MIB
    for _ in range(7):
        assert not learned.learn(F, 10 * MIB)
    for _ in range(64):
        learned.learn(F, 10 * MIB)
    assert learned.expect(F) == 0


@given(st.lists(st.integers(0, 1 << 33), min_size=1, max_size=200))
def test_nine_of_ten_of_the_last_runs_needed_no_more(peaks: list[int]) -> None:
    learned = LearnedMemory()
    for peak in peaks:
        before = learned.expect(F)
        assert learned.learn(F, peak) is (learned.expect(F) > before)
    recent = [coarse(peak) for peak in peaks[-64:]]
    assert 10 * sum(peak > learned.expect(F) for peak in recent) <= len(recent)


def test_outputs_are_quick_to_rise_and_slow_to_fall() -> None:
    learned = LearnedOutputs()
    assert learned.expect(F) is None
    learned.learn(F, 0)
    assert learned.expect(F) == 0
    learned.learn(F, 1000)
    assert learned.expect(F) == 1000
    learned.learn(F, 0)
    assert learned.expect(F) == 900
    assert learned.expect(G) is None
