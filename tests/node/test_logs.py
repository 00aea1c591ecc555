from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Awaitable, Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.node.logs import MARK, LogPipe
from millpond.worker.output import TaskOutput

Emitted = list[tuple[str, str]]


def through_pipe(chunks: Iterable[bytes]) -> Emitted:
    """What a log pipe makes of chunks that it reads one by one."""
    emitted: Emitted = []

    async def main() -> None:
        ended = asyncio.Event()
        read, write = os.pipe()
        LogPipe(read, asyncio.get_running_loop(), lambda *line: emitted.append(line), ended.set)
        for chunk in chunks:
            os.write(write, chunk)
            await readable_again()
        os.close(write)
        await asyncio.wait_for(ended.wait(), 30)
        with pytest.raises(OSError):
            os.fstat(read)

    asyncio.run(main())
    return emitted


async def readable_again() -> None:
    """Let the loop look at its descriptors once."""
    turn: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)  # noqa: E731
    await turn()
    await turn()


def lines(emitted: Emitted) -> list[tuple[str, str]]:
    return [(name, line) for name, text in emitted for line in text.split("\n")]


def test_lines_bear_the_name_that_was_announced_last() -> None:
    data = b"early\n" + MARK + b"f\none\ntwo\n" + MARK + b"g\nthree\n"
    assert through_pipe([data]) == [("", "early"), ("f", "one\ntwo"), ("g", "three")]


def test_partial_lines_wait_for_their_end() -> None:
    assert through_pipe([b"par", b"tial\nne", b"xt\n"]) == [("", "partial"), ("", "next")]


def test_the_end_of_a_pipe_ends_the_last_line() -> None:
    assert through_pipe([b"one\ntwo"]) == [("", "one"), ("", "two")]
    assert through_pipe([]) == []
    assert through_pipe([b"one\n"]) == [("", "one")]


def test_a_mark_may_be_cut_anywhere() -> None:
    data = MARK + b"f\none\n" + MARK + b"g\ntwo\n"
    for cut in range(len(data) + 1):
        chunks = [chunk for chunk in (data[:cut], data[cut:]) if chunk]
        assert lines(through_pipe(chunks)) == [("f", "one"), ("g", "two")]


def test_empty_lines_and_marks_without_lines() -> None:
    data = b"\n\n" + MARK + b"f\n" + MARK + b"g\n\n"
    assert lines(through_pipe([data])) == [("", ""), ("", ""), ("g", "")]


def test_a_mark_inside_a_line_is_text() -> None:
    assert through_pipe([b"x" + MARK + b"f\n"]) == [("", f"x{MARK.decode()}f")]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    data = MARK + "žluť".encode() + b"\n\xff\xfe\n"
    assert through_pipe([data]) == [("žluť", "��")]


def test_a_task_that_does_not_end_its_line() -> None:
    raw = io.BytesIO()
    stream = TaskOutput(raw, encoding="utf-8", write_through=True)
    for name, text in (("f", "no end"), ("g", "next\n"), ("g", "more\n")):
        stream.task_name = name
        stream.write(text)
    stream.flush()
    assert lines(through_pipe([raw.getvalue()])) == [("f", "no end"), ("g", "next"), ("g", "more")]


def test_a_name_of_two_lines() -> None:
    raw = io.BytesIO()
    stream = TaskOutput(raw, encoding="utf-8", write_through=True)
    stream.task_name = "two\nlines"
    stream.write("text\n")
    stream.flush()
    ((name, text),) = through_pipe([raw.getvalue()])
    assert name.split() == ["two", "lines"]
    assert text == "text"


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    emitted = through_pipe([b"x" * 60_000] * 40)
    assert len(emitted) > 1
    assert sum(len(text) for _, text in emitted) == 40 * 60_000


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from("fgh"), st.text(st.characters(exclude_characters="\n\0")))
    ),
    cuts=st.lists(st.integers(0, 500), max_size=5).map(sorted),
)
def test_any_lines_in_any_pieces(parts: list[tuple[str, str]], cuts: list[int]) -> None:
    data = b"".join(MARK + f"{name}\n{line}\n".encode("utf-8", "replace") for name, line in parts)
    chunks = [
        data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if data
    ]
    expected = [(name, line.encode("utf-8", "replace").decode()) for name, line in parts]
    assert lines(through_pipe(chunk for chunk in chunks if chunk)) == expected
