"""The pure parts of HTTP/3 and WebTransport: frames, capsules, lists, codes, varints."""

import contextlib

import pytest
from aioquic.h3.connection import FrameType
from hypothesis import given
from hypothesis import strategies as st

from moqvox.transport.aioquic.capsules import (
    CLOSE_SESSION,
    CapsuleError,
    CapsuleReader,
    close_capsule,
    read_close,
)
from moqvox.transport.aioquic.exchange import (
    Request,
    accept_fields,
    agree,
    choose,
    parse_request,
    request_fields,
)
from moqvox.transport.aioquic.http3 import FrameReader, H3Error, SectionCodec
from moqvox.transport.aioquic.sfv import MAX_STRINGS, parse_string, parse_strings, write_strings
from moqvox.transport.aioquic.varint import encode_varint, pull_varint
from moqvox.transport.aioquic.wtcodes import FIRST, LAST, from_http, to_http
from moqvox.transport.failures import NoCommonProtocol, RequestRefused

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(st.integers(0, (1 << 62) - 1), st.binary(max_size=3))
def test_varints_come_back_as_they_were(value, rest):
    encoded = encode_varint(value)
    assert pull_varint(encoded + rest, 0) == (value, len(encoded))
    assert pull_varint(encoded[:-1], 0) is None


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (37, "25"),
        (15293, "7bbd"),
        (494878333, "9d7f3e7d"),
        (151288809941952652, "c2197c5eff14e88c"),
    ],
)
def test_varints_are_those_of_the_rfc(value, encoded):
    assert encode_varint(value).hex() == encoded


@given(st.integers(0, 0xFFFFFFFF))
def test_stream_codes_come_back_as_they_were(code):
    wire = to_http(code)
    assert FIRST <= wire <= LAST
    assert (wire - 0x21) % 0x1F != 0
    assert from_http(wire) == code


@pytest.mark.parametrize(
    ("code", "wire"),
    [(0, 0x52E4A40FA8DB), (33, 0x52E4A40FA8FD), (0xFFFFFFFF, 0x52E5AC983162)],
)
def test_stream_codes_are_those_that_browsers_send(code, wire):
    assert to_http(code) == wire
    assert from_http(wire) == code


@pytest.mark.parametrize("wire", [0, 0x10C, FIRST - 1, LAST + 1, FIRST + 30])
def test_other_codes_become_zero(wire):
    assert from_http(wire) == 0


def test_codes_above_32_bits_become_the_largest():
    assert from_http(to_http(1 << 40)) == 0xFFFFFFFF


@given(st.lists(PRINTABLE, max_size=MAX_STRINGS))
def test_lists_of_strings_come_back_as_they_were(strings):
    assert parse_strings(write_strings(strings)) == strings


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ('"moq-lite-04", "moq-00"', ["moq-lite-04", "moq-00"]),
        ('"a","b"', ["a", "b"]),
        ('"a" \t,  "b"', ["a", "b"]),
        (' "a"  ', ["a"]),
        ('"a";q=0.5;x, "b";y="z,\\""', ["a", "b"]),
        ('"a \\"quoted\\" \\\\ word"', ['a "quoted" \\ word']),
        ("", []),
        ('"a', []),
        ('"a" "b"', []),
        ('"a",', []),
        ("token", []),
        ('"a", token', []),
        ('"tab\there"', []),
        ('"\\n"', []),
        (",".join(['"x"'] * (MAX_STRINGS + 1)), []),
    ],
)
def test_lists_are_read_as_the_rfc_says_or_not_at_all(text, strings):
    assert parse_strings(text) == strings


@given(st.text(max_size=200))
def test_any_text_is_a_list_or_nothing(text):
    assert all(isinstance(string, str) for string in parse_strings(text))


def test_hostile_lists_are_read_in_linear_time():
    assert parse_strings('"a"' + ";a" * 50_000) == ["a"]
    assert parse_strings('"' + "\\\\" * 50_000) == []
    assert parse_string('"a", "b"') is None


def feed(reader: FrameReader, data: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        for kind, payload in reader.feed(data[start:end]):
            if kind == FrameType.DATA and found and found[-1][0] == kind:
                found[-1] = (kind, found[-1][1] + payload)
            elif payload or kind != FrameType.DATA:
                found.append((kind, payload))
    return found


@given(st.data())
def test_frames_are_the_same_however_they_are_cut(data):
    def frame(kind: int, payload: bytes) -> bytes:
        return encode_varint(kind) + encode_varint(len(payload)) + payload

    frames = data.draw(
        st.lists(st.tuples(st.sampled_from([0, 1, 0x21, 0x4041]), st.binary(max_size=100)))
    )
    stream = b"".join(frame(kind, payload) for kind, payload in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    assert feed(FrameReader({1: 100}, frozenset()), stream, cuts) == feed(
        FrameReader({1: 100}, frozenset()), stream, []
    )
    whole = [payload for kind, payload in frames if kind == 1]
    read = feed(FrameReader({1: 100}, frozenset()), stream, cuts)
    assert [payload for kind, payload in read if kind == 1] == whole


def test_frames_that_are_too_long_or_out_of_place_are_errors():
    with pytest.raises(H3Error, match="101 bytes"):
        list(FrameReader({1: 100}, frozenset()).feed(b"\x01\x40\x65"))
    with pytest.raises(H3Error, match="0x4"):
        list(FrameReader({}, frozenset([4])).feed(b"\x04\x00"))


def test_skipped_frames_are_not_kept():
    reader = FrameReader({}, frozenset())
    assert list(reader.feed(encode_varint(0x21) + encode_varint(1 << 30))) == []
    for _ in range(10):
        assert list(reader.feed(bytes(100_000))) == []
    assert len(reader._held) == 0


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_coded_error(data):
    with contextlib.suppress(H3Error):
        list(FrameReader({1: 50}, frozenset([2])).feed(data))


@given(st.binary(max_size=300))
def test_any_section_is_fields_or_a_coded_error(data):
    for read in (SectionCodec().request, SectionCodec().response):
        with contextlib.suppress(H3Error):
            read(0, data)


@given(st.integers(0, 0xFFFFFFFF), st.text(max_size=300), st.integers(0, 400))
def test_close_capsules_come_back_as_they_were(code, reason, cut):
    capsule = close_capsule(code, reason)
    reader = CapsuleReader()
    found = reader.feed(capsule[:cut]) + reader.feed(capsule[cut:])
    assert [kind for kind, _ in found] == [CLOSE_SESSION]
    assert read_close(found[0][1]) == (code, reason)


def test_long_reasons_are_cut_between_characters():
    _, reason = read_close(CapsuleReader().feed(close_capsule(1 << 40, "é" * 1000))[0][1])
    assert reason == "é" * 512


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_capsules_or_an_error(data, cut):
    reader = CapsuleReader()
    with contextlib.suppress(CapsuleError):
        for _, value in reader.feed(data[:cut]) + reader.feed(data[cut:]):
            read_close(value)


def test_unknown_capsules_are_skipped_without_being_kept():
    reader = CapsuleReader()
    assert reader.feed(encode_varint(0x99) + encode_varint(1 << 24) + b"x") == []
    for _ in range(100):
        assert reader.feed(bytes(100_000)) == []
    assert len(reader._held) == 0


def test_a_request_comes_back_as_it_was():
    request = Request("localhost:4443", "/room?x=1", ("moq-lite-06", "moq-lite-05"))
    assert parse_request(request_fields(request)) == request
    assert parse_request([(b":method", b"GET")]) is None


def test_our_order_chooses_among_what_the_client_offers():
    request = Request("x", "/", ("b", "c", "a"))
    assert choose(request, ["z", "a", "b"]) == "a"
    assert choose(request, ["z"]) is None


def test_offers_in_several_fields_are_one_list():
    fields = request_fields(Request("x", "/", ("a",)))
    request = parse_request([*fields, (b"wt-available-protocols", b'"b", "c"')])
    assert request is not None
    assert request.protocols == ("a", "b", "c")


@pytest.mark.parametrize(
    ("path", "protocols"),
    [
        ("/room?jwt=x&wt-protocol=moq-lite-06", ("moq-lite-06",)),
        ("/?wt-protocol=a&wt-protocol=b", ("a",)),
        ("/?wt-protocol=", ()),
        ("/wt-protocol=a", ()),
        ("/?" + "x=1&" * 40 + "wt-protocol=a", ()),
    ],
)
def test_a_client_without_offers_names_its_protocol_in_the_query(path, protocols):
    """Firefox 153 sends no `wt-available-protocols`."""
    fields = request_fields(Request("x", path, ("z",)))
    bare = parse_request([field for field in fields if field[0] != b"wt-available-protocols"])
    assert bare is not None
    assert (bare.protocols, bare.path) == (protocols, path)
    offering = parse_request(fields)
    assert offering is not None
    assert offering.protocols == ("z",), "an offer counts more than the query"


def test_a_response_is_a_protocol_or_a_failure():
    request = Request("x", "/", ("a", "b"))
    assert agree(accept_fields(request, "b"), request) == "b"
    assert isinstance(agree(accept_fields(request, "c"), request), NoCommonProtocol)
    refused = agree([(b":status", b"403")], request)
    assert isinstance(refused, RequestRefused)
    assert refused.status == 403
