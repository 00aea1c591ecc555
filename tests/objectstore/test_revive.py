"""An object that its owner freed, and wants back while somebody still uses its bytes."""

from __future__ import annotations

import pytest

from millpond.objectstore.commands import (
    CreateGranted,
    DeleteFile,
    InArena,
    Lost,
    PinGranted,
    Restore,
    Spill,
)
from millpond.objectstore.core import StoreCore

ME, YOU = b"client-1", b"client-2"
OID, OTHER = b"owner-01object01", b"owner-01object02"
SIZE = 128


@pytest.fixture
def core() -> StoreCore:
    """A core with one object, which fills it."""
    core = StoreCore(SIZE, low_water=1.0, high_water=1.0, validate=True)
    core.create(OID, SIZE, ME, 1)
    core.seal(OID)
    return core


def test_one_that_is_read_stays(core: StoreCore) -> None:
    core.pin(OID, YOU, 2)
    core.delete(OID)
    assert core.revive(OID) == []
    assert core.pin(OID, ME, 3) == [PinGranted(3, OID, InArena(0, SIZE))]
    core.unpin(OID, ME)
    core.unpin(OID, YOU)
    assert [row.doomed for row in core.contents()] == [False]
    core.delete(OID)
    assert core.contents() == []


def test_one_that_is_being_spilled_stays(core: StoreCore) -> None:
    assert core.create(OTHER, SIZE, YOU, 2) == [Spill(OID, 0, SIZE)]
    core.delete(OID)
    core.revive(OID)
    assert core.spilled(OID) == [CreateGranted(2, OTHER, InArena(0, SIZE))]
    assert {row.oid for row in core.contents()} == {OID, OTHER}


@pytest.mark.parametrize("readable", [True, False])
def test_one_that_is_being_restored_stays(core: StoreCore, readable: bool) -> None:
    core.create(OTHER, SIZE, YOU, 2)
    core.spilled(OID)
    core.abort(OTHER)
    assert core.pin(OID, YOU, 3) == [Restore(OID, 0, SIZE)]
    core.delete(OID)
    core.revive(OID)
    assert core.pin(OID, ME, 4) == []
    if readable:
        assert core.restored(OID) == [PinGranted(4, OID, InArena(0, SIZE))]
        assert [row.doomed for row in core.contents()] == [False]
    else:
        assert core.restore_failed(OID) == [Lost(4, OID)]
        replaced = [DeleteFile(OID), CreateGranted(5, OID, InArena(0, SIZE))]
        assert core.create(OID, SIZE, ME, 5) == replaced


def test_one_that_is_gone_stays_gone(core: StoreCore) -> None:
    core.delete(OID)
    assert core.revive(OID) == []
    assert core.contents() == []


def test_one_that_nobody_freed_is_as_before(core: StoreCore) -> None:
    before = core.contents()
    assert core.revive(OID) == []
    assert core.contents() == before
