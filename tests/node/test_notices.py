from __future__ import annotations

import logging

import pytest

from millpond.node.notices import Notices
from millpond.objectstore.core import StoreCore

MIB = 1 << 20


@pytest.fixture
def notices() -> Notices:
    return Notices(StoreCore(64 * MIB).statistics, 64 * MIB)


def test_a_full_disk_is_told_once_and_its_end_too(
    notices: Notices, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    notices.spill_worked()
    assert caplog.messages == []
    for _ in range(5):
        notices.spill_failed(OSError("no space left on /spill"))
    (told,) = caplog.messages
    assert "no space left on /spill" in told
    assert "0 B of 64.0 MiB" in told
    for _ in range(5):
        notices.spill_worked()
    assert caplog.messages[1:] == ["spilling works again"]
    notices.spill_failed(OSError("no space left on /spill"))
    assert len(caplog.messages) == 3


def test_what_is_larger_than_the_store_is_told_once(notices: Notices) -> None:
    told: list[str] = []
    notices.warn = told.append
    notices.large_object(64 * MIB)
    notices.large_inputs("merge", 64 * MIB)
    assert told == []
    notices.large_inputs("merge", 192 * MIB)
    notices.large_object(128 * MIB)
    (text,) = told
    assert "task merge has stored arguments of 192.0 MiB" in text
    assert "64.0 MiB" in text
    assert str(192 * MIB) in text
