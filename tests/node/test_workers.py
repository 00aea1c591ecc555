from __future__ import annotations

import signal

import msgspec
import pytest

from millpond.node.worker_pool import describe_exit
from millpond.node.zygote import (
    Exited,
    Fork,
    Forked,
    ForkZygote,
    Kill,
    Ready,
    ZygoteMessage,
    decode,
)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (signal.SIGKILL, "its worker was killed by signal 9 (SIGKILL)"),
        (signal.SIGSEGV | 0x80, "its worker was killed by signal 11 (SIGSEGV)"),  # with a core
        (60, "its worker was killed by signal 60"),
        (0, "its worker exited with code 0"),
        (3 << 8, "its worker exited with code 3"),
        (255 << 8, "its worker exited with code 255"),
    ],
)
def test_how_a_worker_ended_in_words(status: int, text: str) -> None:
    assert describe_exit(status) == text


@pytest.mark.parametrize(
    "message",
    [
        Fork(b"12345678"),
        ForkZygote(["numpy", "pandas"]),
        Kill(2**22),
        Forked(b"12345678", 5),
        Ready(6),
        Exited(7, 9),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_of_the_zygote_travel_in_one_packet(message: ZygoteMessage) -> None:
    packet = msgspec.msgpack.encode(message)
    assert decode(packet) == message
    assert type(decode(packet)) is type(message)
