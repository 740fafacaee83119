"""WebTransport's mapping of stream error codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import StreamCode
from moqvox.wire.error_code import from_wire, to_wire

SEEN = [(StreamCode.CANCELLED, 91141958510812), (StreamCode.NOT_FOUND, 91141958510863)]


@pytest.mark.parametrize(("code", "wire"), SEEN)
def test_codes_are_mapped_as_peers_do(code, wire):
    assert to_wire(code) == wire
    assert from_wire(wire) == code


@given(st.integers(0, 2**32 - 1))
def test_a_mapped_code_is_unmapped(code):
    assert from_wire(to_wire(code)) == code


@given(st.integers(0, 2**32 - 1))
def test_a_plain_code_is_left_alone(code):
    assert from_wire(code) == code


def test_a_reserved_code_point_of_http3_is_left_alone():
    reserved = next(n for n in range(0x52E4A40FA8DB, 0x52E4A40FA8DB + 40) if n % 0x1F == 2)
    assert (reserved - 0x21) % 0x1F == 0
    assert from_wire(reserved) == reserved


def test_a_code_beyond_32_bits_is_cut():
    assert from_wire(to_wire(2**40)) == 2**32 - 1
