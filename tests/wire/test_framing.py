from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.inspect import (
    BoolType,
    BytesType,
    DataclassType,
    DictType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    StrType,
    StructType,
    TupleType,
    Type,
    UnionType,
    type_info,
)

from millpond.errors import ProtocolError
from millpond.wire import framing
from millpond.wire import messages as messages_module
from millpond.wire.framing import MAX_FRAME_BYTES, FrameDecoder, encode_frame
from millpond.wire.messages import CancelTask, Done, FunctionBlob, Hello, LogLines, Message

MESSAGE_TYPES: tuple[type[msgspec.Struct], ...] = get_args(Message)


def sample(kind: Type, default: object = None) -> Any:  # noqa: PLR0911
    """A value of a field that is not the field's default."""
    match kind:
        case BoolType():
            return default is not True
        case IntType():
            return 2**40 + 7
        case FloatType():
            return 0.1
        case StrType():
            return "žluťoučký \N{HORSE}"
        case BytesType():
            return b"\x00\xff raw"
        case ListType(item_type):
            return [sample(item_type), sample(item_type)]
        case TupleType(item_types):
            return tuple(sample(item_type) for item_type in item_types)
        case DictType(key_type, value_type):
            return {sample(key_type): sample(value_type)}
        case StructType(cls, fields) | DataclassType(cls, fields):
            return cls(**{field.name: sample(field.type, field.default) for field in fields})
        case UnionType(types):
            (only,) = [one for one in types if not isinstance(one, NoneType)]
            return sample(only)
    raise AssertionError(f"a field of {kind} is new: say here what to send")


def values(kind: Type) -> st.SearchStrategy[Any]:  # noqa: PLR0911
    """All values of a field."""
    match kind:
        case BoolType():
            return st.booleans()
        case IntType():
            return st.integers(-(2**63), 2**64 - 1)
        case FloatType():
            return st.floats(allow_nan=False)
        case StrType():
            return st.text(max_size=20)
        case BytesType():
            return st.binary(max_size=20)
        case NoneType():
            return st.none()
        case ListType(item_type):
            return st.lists(values(item_type), max_size=3)
        case TupleType(item_types):
            return st.tuples(*[values(item_type) for item_type in item_types])
        case DictType(key_type, value_type):
            return st.dictionaries(values(key_type), values(value_type), max_size=3)
        case StructType(cls, fields) | DataclassType(cls, fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
        case UnionType(types):
            return st.one_of([values(one) for one in types])
    raise AssertionError(f"a field of {kind} is new: say here what to send")


def structs(kind: Type) -> Iterator[StructType]:
    """The struct types in a type."""
    if isinstance(kind, StructType):
        yield kind
        for field in kind.fields:
            yield from structs(field.type)
    elif isinstance(kind, ListType):
        yield from structs(kind.item_type)
    elif isinstance(kind, UnionType):
        for one in kind.types:
            yield from structs(one)


@pytest.mark.parametrize("cls", MESSAGE_TYPES, ids=lambda cls: cls.__name__)
def test_every_message_arrives_as_it_was_sent(cls: type[msgspec.Struct]) -> None:
    message = sample(type_info(cls))
    for part in structs(type_info(cls)):
        assert all(sample(field.type, field.default) != field.default for field in part.fields)
    (arrived,) = FrameDecoder().feed(bytes(encode_frame(message)))
    assert type(arrived) is cls
    assert arrived == message


def test_every_tagged_struct_is_a_message_and_tags_are_given_once() -> None:
    tagged = [
        cls
        for cls in vars(messages_module).values()
        if isinstance(cls, type)
        and issubclass(cls, msgspec.Struct)
        and cls.__struct_config__.tag is not None
    ]
    assert set(tagged) == set(MESSAGE_TYPES)
    tags = [cls.__struct_config__.tag for cls in MESSAGE_TYPES]
    assert len(set(tags)) == len(tags)
    assert all(cls.__struct_config__.array_like for cls in MESSAGE_TYPES)


any_message = st.one_of([values(type_info(cls)) for cls in MESSAGE_TYPES])


@settings(max_examples=40, deadline=None)
@given(messages=st.lists(any_message, min_size=1, max_size=4), data=st.data())
def test_any_messages_in_any_pieces(messages: list[msgspec.Struct], data: st.DataObject) -> None:
    stream = b"".join(bytes(encode_frame(message)) for message in messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    decoder = FrameDecoder()
    arrived = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += decoder.feed(memoryview(stream)[start:end])
    assert arrived == messages


def test_split_at_every_byte() -> None:
    messages = [Hello(1, b"12345678", "driver", 5), Done(7), LogLines(1, 2, "f", "line")]
    stream = b"".join(bytes(encode_frame(message)) for message in messages)
    for cut in range(len(stream) + 1):
        decoder = FrameDecoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == messages
    decoder = FrameDecoder()
    assert [m for byte in stream for m in decoder.feed(bytes([byte]))] == messages
    assert decoder.feed(b"") == []


def test_nothing_of_what_arrived_is_kept() -> None:
    decoder = FrameDecoder()
    frame = bytes(encode_frame(FunctionBlob(1, bytes(100_000))))
    for _ in range(3):
        assert decoder.feed(frame[:-1]) == []
        assert len(decoder.feed(frame[-1:])) == 1
        assert len(decoder._pending) == 0


def test_what_was_decoded_does_not_change_with_the_buffer_it_came_in() -> None:
    buffer = bytearray(encode_frame(FunctionBlob(1, b"blob" * 100)))
    (message,) = FrameDecoder().feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert message.blob == b"blob" * 100


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",  # never used by msgpack
        msgspec.msgpack.encode("text"),
        msgspec.msgpack.encode([9999, 1]),  # no such tag
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([21]),  # Done without its field
        msgspec.msgpack.encode([21, "text"]),
        msgspec.msgpack.encode([21, 1])[:-1],
        msgspec.msgpack.encode([21, 1]) + b"\x00",
        msgspec.msgpack.encode([67, 1, 1, "x", "y"]).replace(b"x", b"\xff"),  # not UTF-8
        b"\x93\x15\x01" + b"\x91" * 1_000_000 + b"\xc0",  # nested too deeply, in a surplus field
    ],
    ids=lambda body: repr(body[:12]),
)
def test_garbage_is_an_error_of_the_protocol(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"a frame of {len(body)} bytes does not decode"):
        FrameDecoder().feed(frame(body))


@settings(deadline=None)
@given(body=st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(body: bytes) -> None:
    for data in (body, frame(body)):
        with contextlib.suppress(ProtocolError):
            FrameDecoder().feed(data)


plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary()
anything = st.recursive(plain | st.text(), st.lists, max_leaves=10)


@settings(deadline=None)
@given(cls=st.sampled_from(MESSAGE_TYPES), fields=st.lists(anything))
def test_wrong_fields_never_raise_anything_else(
    cls: type[msgspec.Struct], fields: list[object]
) -> None:
    body = msgspec.msgpack.encode([cls.__struct_config__.tag, *fields])
    with contextlib.suppress(ProtocolError):
        FrameDecoder().feed(frame(body))


@pytest.mark.parametrize("size", [MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_claim_of_gigabytes_is_refused_at_once(size: int) -> None:
    with pytest.raises(ProtocolError, match=str(size)):
        FrameDecoder().feed(struct.pack("<I", size))


def test_an_incomplete_frame_is_waited_for() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(struct.pack("<I", MAX_FRAME_BYTES)) == []
    assert decoder.feed(b"more") == []


def test_a_message_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 100)
    fits = 100 - len(msgspec.msgpack.encode(CancelTask(b""))) - 1
    encode_frame(CancelTask(bytes(fits)))
    with pytest.raises(ProtocolError, match=r"CancelTask message of 10\d bytes .* millpond\.put"):
        encode_frame(CancelTask(bytes(fits + 5)))


def test_fields_that_a_newer_peer_adds_are_ignored() -> None:
    assert FrameDecoder().feed(frame(msgspec.msgpack.encode([21, 5, [], "new"]))) == [Done(5)]
