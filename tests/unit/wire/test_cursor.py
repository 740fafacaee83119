"""Fields of one message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError, RemoteError, SessionCode
from moqvox.wire.cursor import Reader, Writer

numbers = st.integers(0, 2**62 - 2)


@given(numbers, st.integers(0, 255), st.booleans(), st.none() | numbers, st.text(), st.binary())
def test_fields_are_read_as_they_were_written(number, byte, flag, optional, text, blob):
    out = Writer()
    out.varint(number)
    out.u8(byte)
    out.flag(flag)
    out.optional(optional)
    out.text(text)
    out.varints((number, 7))
    out.blob(blob)
    out.raw(blob)
    body = Reader(out.getvalue())
    read = (body.varint(), body.u8(), body.flag(), body.optional(), body.text())
    assert read == (number, byte, flag, optional, text)
    assert body.varints() == (number, 7)
    assert (body.blob(), body.rest()) == (blob, blob)
    body.finish()


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"", Reader.varint),
        (b"\x40", Reader.varint),
        (b"", Reader.u8),
        (b"\x02", Reader.flag),
        (b"\x05abc", Reader.blob),
        (b"\x02\xc3\x28", Reader.text),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\x00", Reader.varints),
        (b"\x00", Reader.finish),
    ],
)
def test_a_broken_field_is_a_protocol_violation(data, read):
    with pytest.raises(RemoteError) as caught:
        read(Reader(data))
    assert caught.value.code == SessionCode.PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (Writer.varint, -1),
        (Writer.varint, 2**62),
        (Writer.optional, 2**62 - 1),
        (Writer.u8, 256),
        (Writer.u8, -1),
        (Writer.text, "\ud800"),
    ],
)
def test_a_value_outside_its_format_is_the_callers_error(write, value):
    with pytest.raises(LocalError):
        write(Writer(), value)
