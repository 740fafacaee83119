"""RFC 9000, section 16 and appendix A.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError
from moqvox.wire.varint import MAX_VARINT, Truncated, decode_varint, encode_varint, varint_size

EXAMPLES = [
    ("c2197c5eff14e88c", 151288809941952652),
    ("9d7f3e7d", 494878333),
    ("7bbd", 15293),
    ("25", 37),
]


@pytest.mark.parametrize(("wire", "value"), EXAMPLES)
def test_the_examples_of_the_rfc_decode_and_encode(wire, value):
    data = bytes.fromhex(wire)
    assert decode_varint(data) == (value, len(data))
    assert encode_varint(value) == data


def test_a_longer_form_than_needed_is_accepted():
    assert decode_varint(bytes.fromhex("4025")) == (37, 2)


@given(st.integers(0, MAX_VARINT), st.binary(max_size=4), st.binary(max_size=4))
def test_any_value_survives_amid_other_bytes(value, before, after):
    wire = before + encode_varint(value) + after
    expected = (value, len(before) + varint_size(value))
    assert decode_varint(wire, len(before)) == expected
    assert decode_varint(memoryview(wire), len(before)) == expected


@given(st.integers(0, MAX_VARINT), st.data())
def test_a_cut_value_is_truncated_and_nothing_else(value, data):
    wire = encode_varint(value)
    kept = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(Truncated):
        decode_varint(wire[:kept])


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_a_value_out_of_range_is_the_callers_error(value):
    with pytest.raises(LocalError, match="2\\*\\*62"):
        encode_varint(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 1), (63, 1), (64, 2), (16383, 2), (16384, 4), (2**30 - 1, 4), (2**30, 8), (MAX_VARINT, 8)],
)
def test_each_value_takes_the_fewest_bytes(value, size):
    assert varint_size(value) == len(encode_varint(value)) == size
