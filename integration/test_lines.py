"""In which order tasks run that go over many pieces, and how far ahead of each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import millpond
from integration.conftest import MIB

PIECES = 20


@millpond.remote
def make(number: int) -> Any:
    return np.full(20_000, number)


@millpond.remote
def step(piece: Any, log: Path, name: str) -> Any:
    with log.open("a") as file:
        file.write(f"{name}\n")
    return piece + 1


@millpond.remote
def hold(gate: Path) -> None:
    while not gate.exists():
        time.sleep(0.001)


class _SlowToStore:
    def __init__(self) -> None:
        self._bytes = b"0" * MIB

    def __reduce__(self) -> tuple[Any, ...]:
        time.sleep(0.01)
        return len, (self._bytes,)


@millpond.remote
def make_slowly() -> _SlowToStore:
    return _SlowToStore()


@pytest.mark.parametrize("in_order", [False, True])
def test_steps_over_all_pieces_are_run_piece_by_piece_unless_told(
    start: Callable[..., millpond.Context], tmp_path: Path, in_order: bool
) -> None:
    start(num_cpus=1)
    log, gate = tmp_path / "log", tmp_path / "gate"
    pieces = [make.remote(number) for number in range(PIECES)]
    millpond.wait(pieces, num_returns=PIECES)
    held = hold.remote(gate)
    for number in range(1, 4):
        ordered = step.options(in_order=in_order)
        pieces = [ordered.remote(piece, log, f"{number} {at}") for at, piece in enumerate(pieces)]
    gate.touch()
    found = millpond.get(pieces)
    assert [piece[0] for piece in found] == list(range(3, PIECES + 3))
    millpond.get(held)
    order = log.read_text().splitlines()
    assert len(order) == 3 * PIECES
    # The owner has to hear of a result before it can submit the next step, so others may be first.
    follows = order.index("3 0") < order.index(f"1 {PIECES - 1}")
    assert follows is not in_order
    for number in range(1, 4):
        steps = [name for name in order if name.startswith(f"{number} ")]
        assert steps == [f"{number} {at}" for at in range(PIECES)]


@pytest.mark.usefixtures("engine")
def test_tasks_that_need_nothing_run_not_far_ahead_where_storing_is_what_takes_long() -> None:
    use = millpond.remote(abs)
    used = [use.remote(make_slowly.remote()) for _ in range(40)]
    assert millpond.get(used) == [MIB] * 40
    assert millpond.statistics().store.peak < 15 * MIB
