"""Objects that have a file of their own, being larger than the store, and damage to that file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import millpond
from integration.conftest import MIB, flip_byte
from millpond.errors import ObjectStoreFullError
from millpond.objectstore.mapping import ArenaMapping

STORE = 16 * MIB
SIZE = 40 * MIB

Start = Callable[..., millpond.Context]
pytestmark = pytest.mark.filterwarnings("ignore::millpond.ObjectStoreWarning")


@millpond.remote
def make(runs: Path, value: int) -> np.ndarray:
    with runs.open("a") as file:
        file.write("x")
    return np.full(SIZE, value, dtype=np.uint8)


@millpond.remote
def ends(array: np.ndarray) -> tuple[int, int]:
    return int(array[0]), int(array[-1])


def flip(path: Path) -> None:
    flip_byte(path, 20 * MIB)


def cut(path: Path) -> None:
    os.truncate(path, 20 * MIB)


def own_files(parent: Path) -> list[Path]:
    return [path for path in parent.glob("millpond-*/*") if path.stat().st_size > SIZE]


@pytest.fixture
def spill(start: Start, tmp_path: Path) -> Path:
    directory = tmp_path / "spill"
    directory.mkdir()
    start(object_store_memory=STORE, spill=directory)
    return directory


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_result_is_made_again(
    spill: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    runs = tmp_path / "runs"
    ref = make.remote(runs, 7)
    millpond.wait([ref])
    (path,) = own_files(spill)
    damage(path)
    array = millpond.get(ref)
    assert array[0] == array[-1] == 7
    assert runs.read_text() == "xx"
    assert len(own_files(spill)) == 1, "the damaged file is gone"
    del array


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_task_gets_an_argument_that_is_made_again(
    spill: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    runs = tmp_path / "runs"
    ref = make.remote(runs, 7)
    assert millpond.get(ends.remote(ref)) == (7, 7)
    (path,) = own_files(spill)
    damage(path)
    assert millpond.get(ends.remote(ref)) == (7, 7)
    assert runs.read_text() == "xx"


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_value_that_was_put_is_lost(spill: Path, damage: Callable[[Path], None]) -> None:
    ref = millpond.put(np.zeros(SIZE, dtype=np.uint8))
    (path,) = own_files(spill)
    damage(path)
    with pytest.raises(millpond.ObjectLostError, match=ref.hex()):
        millpond.get(ref)


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_file_that_goes_between_the_pin_and_the_mapping(
    spill: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
) -> None:
    runs = tmp_path / "runs"
    ref = make.remote(runs, 7)
    millpond.wait([ref])
    damaged: list[str] = []
    map_file: Any = ArenaMapping.map_file

    def damage_and_map(path: str, *args: Any, **options: Any) -> Any:
        if not damaged:
            damaged.append(path)
            damage(Path(path))
        return map_file(path, *args, **options)

    monkeypatch.setattr(ArenaMapping, "map_file", staticmethod(damage_and_map))
    array = millpond.get(ref)
    assert array[0] == array[-1] == 7
    assert damaged
    assert runs.read_text() == "xx"
    del array


def test_who_has_mapped_a_file_goes_on_reading_it(spill: Path, tmp_path: Path) -> None:
    ref = make.remote(tmp_path / "runs", 7)
    array = millpond.get(ref)
    (path,) = own_files(spill)
    path.unlink()
    again = millpond.get(ref)
    assert again[0] == again[-1] == array[20 * MIB] == 7
    assert (tmp_path / "runs").read_text() == "x"
    del again
    # Its new bytes would have no place as long as the old ones are read.
    with pytest.raises(ObjectStoreFullError, match="is still being read"):
        millpond.get(ends.remote(ref))
    del array, ref
