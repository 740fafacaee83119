import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.media.signals import chunks

from moqvox.errors import LocalError, MediaError
from moqvox.media.ogg import OggPacket, Reader, Writer
from moqvox.media.ogg_page import MAX_PAGE_BYTES, NO_GRANULE, Page, paginate, parse_page
from moqvox.media.opus import MAX_PACKET_BYTES, packet_samples
from moqvox.media.opus_head import MAX_TAGS_BYTES, OpusHead, OpusTags

VECTOR = json.loads((Path(__file__).parents[2] / "vectors/ogg_opus.json").read_text())
TWENTY_MS = 31 << 3
SERIAL = 7


def packet(size=3, toc=TWENTY_MS):
    return bytes([toc]) + bytes(size)


def crc_bit_by_bit(data):
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def written(packets, trim_end=0, **options):
    writer = Writer(**options)
    return b"".join([*(writer.write(body) for body in packets), writer.finish(trim_end)])


def read(data):
    reader = Reader()
    packets = reader.push(data)
    reader.finish()
    return reader, packets


def pages_of(data):
    at, pages = 0, []
    while at < len(data):
        page, at = parse_page(data, at)
        pages.append(page)
    return pages


def page(granule, bodies, sequence, serial=SERIAL, **flags):
    return Page(
        granule=granule,
        serial=serial,
        sequence=sequence,
        lacing=b"".join(b"\xff" * (len(body) // 255) + bytes([len(body) % 255]) for body in bodies),
        body=b"".join(bodies),
        **flags,
    ).encode()


def headers(serial=SERIAL, channels=1):
    head = OpusHead(channels=channels).encode()
    return page(0, [head], 0, serial, first=True) + page(0, [OpusTags().encode()], 1, serial)


@given(st.binary(max_size=600))
def test_the_checksum_is_the_crc_of_rfc_3533(body):
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    data = Page(granule=5, serial=1, sequence=2, lacing=lacing, body=body).encode()
    stored = int.from_bytes(data[22:26], "little")
    assert stored == crc_bit_by_bit(data[:22] + bytes(4) + data[26:])


def test_a_file_of_libogg_is_read_as_ffmpeg_reads_it():
    data = bytes.fromhex(VECTOR["file"])
    reader, packets = read(data)
    assert reader.head == OpusHead(**VECTOR["head"])
    assert reader.tags.vendor == VECTOR["vendor"]
    assert packets == [
        OggPacket(bytes.fromhex(known["payload"]), known["start"], 960, known["trim_end"])
        for known in VECTOR["packets"]
    ]
    heard = sum(found.samples - found.trim_end for found in packets) - reader.head.pre_skip
    assert heard == VECTOR["samples_to_hear"]


def test_pages_of_libogg_are_written_again_to_the_byte():
    data = bytes.fromhex(VECTOR["file"])
    assert b"".join(found.encode() for found in pages_of(data)) == data


PACKETS = st.lists(
    st.builds(
        packet,
        st.one_of(st.integers(0, 600), st.sampled_from([253, 254, 255, 509, 510, 1274])),
        st.sampled_from([31 << 3, 28 << 3, 3 << 3, 1 << 3 | 4]),
    ),
    max_size=30,
)


@settings(max_examples=80)
@given(
    PACKETS, st.integers(1, 60), st.integers(0, 0xFFFF), st.lists(st.integers(0, 10**6), max_size=8)
)
def test_what_was_written_is_read_in_any_chunks(bodies, per_page, pre_skip, cuts):
    data = written(bodies, packets_per_page=per_page, pre_skip=pre_skip, sample_rate=16_000)
    reader = Reader()
    got = [found for chunk in chunks(data, cuts) for found in reader.push(chunk)]
    reader.finish()
    assert [found.payload for found in got] == bodies
    starts = [sum(packet_samples(body) for body in bodies[:n]) for n in range(len(bodies))]
    assert [found.start for found in got] == starts
    assert reader.ended
    assert reader.head == OpusHead(pre_skip=pre_skip, sample_rate=16_000)
    assert reader.tags == OpusTags()


def test_every_byte_by_itself_gives_the_same_packets():
    data = written([packet(n) for n in range(20)], packets_per_page=7)
    reader = Reader()
    got = [found for at in range(len(data)) for found in reader.push(data[at : at + 1])]
    assert got == read(data)[1]


def test_pages_hold_as_many_packets_as_asked_and_the_last_says_so():
    pages = pages_of(written([packet()] * 12, packets_per_page=5))
    assert [len(found.pieces()) for found in pages] == [1, 1, 5, 5, 2]
    assert [found.first for found in pages] == [True, False, False, False, False]
    assert [found.last for found in pages] == [False, False, False, False, True]
    assert [found.sequence for found in pages] == [0, 1, 2, 3, 4]
    assert [found.granule for found in pages] == [0, 0, 5 * 960, 10 * 960, 12 * 960]


def test_a_page_is_given_out_when_the_packet_after_it_comes():
    writer = Writer(packets_per_page=1)
    assert pages_of(writer.write(packet()))[-1].pieces()[0][0].startswith(b"OpusTags")
    assert pages_of(writer.write(packet()))[0].granule == 960
    assert pages_of(writer.finish())[0].last


def test_large_packets_share_no_page_that_cannot_hold_them():
    bodies = [packet(40_000), packet(40_000), packet(MAX_PACKET_BYTES - 1)]
    data = written(bodies)
    assert [found.payload for found in read(data)[1]] == bodies
    assert all(len(found.encode()) <= MAX_PAGE_BYTES for found in pages_of(data))


def test_a_stream_without_audio_has_its_headers_and_an_end():
    reader, packets = read(Writer().finish())
    assert packets == []
    assert reader.ended


@pytest.mark.parametrize(
    ("trim", "expected"),
    [(0, [0, 0, 0]), (1, [0, 0, 1]), (960, [0, 0, 960]), (1000, [0, 40, 960])],
)
def test_the_end_is_trimmed_to_the_sample(trim, expected):
    packets = read(written([packet()] * 3, trim))[1]
    assert [found.trim_end for found in packets] == expected


def test_more_cannot_be_trimmed_than_the_last_page_holds():
    with pytest.raises(LocalError, match="cannot trim"):
        written([packet()], 960)
    with pytest.raises(LocalError, match="cannot trim"):
        written([], 1)
    with pytest.raises(LocalError, match="cannot trim"):
        written([packet()], -1)


def test_a_finished_writer_takes_nothing_more():
    writer = Writer()
    writer.finish()
    with pytest.raises(LocalError, match="finished"):
        writer.write(packet())
    with pytest.raises(LocalError, match="finished"):
        writer.finish()


@pytest.mark.parametrize(
    "options",
    [{"packets_per_page": 0}, {"packets_per_page": 256}, {"serial": -1}, {"serial": 2**32}],
)
def test_a_writer_refuses_what_ogg_does_not_have(options):
    with pytest.raises(LocalError):
        Writer(**options)


@pytest.mark.parametrize("options", [{"pre_skip": 65_536}, {"channels": 256}, {"sample_rate": -1}])
def test_a_header_field_out_of_range_is_refused(options):
    with pytest.raises(LocalError, match="out of range"):
        Writer(**options).finish()


def test_a_writer_refuses_what_is_no_opus_packet():
    with pytest.raises(MediaError):
        Writer().write(b"")
    with pytest.raises(MediaError, match="at most"):
        Writer().write(packet(MAX_PACKET_BYTES))


def test_tags_survive_and_may_spread_over_many_pages():
    tags = OpusTags("someone", (("TITLE", "räksmörgås"), ("COMMENT", "x" * 200_000), ("TITLE", "")))
    reader, packets = read(written([packet()], tags=tags))
    assert reader.tags == tags
    assert len(packets) == 1
    pages = pages_of(written([packet()], tags=tags))
    assert [found.granule for found in pages] == [0, NO_GRANULE, NO_GRANULE, NO_GRANULE, 0, 960]
    assert [found.continued for found in pages] == [False, False, True, True, True, False]


@pytest.mark.parametrize("name", ["", "a=b", "naïve", "a\n", "~"])
def test_a_comment_name_that_vorbis_forbids_is_refused(name):
    with pytest.raises(LocalError, match="comment name"):
        OpusTags("v", ((name, "x"),)).encode()


def test_tags_beyond_their_bound_are_refused_both_ways():
    with pytest.raises(LocalError, match="pass"):
        OpusTags("x" * MAX_TAGS_BYTES).encode()
    head = page(0, [OpusHead().encode()], 0, first=True)
    reader = Reader()
    reader.push(head)
    lacing, body = b"\xff" * 255, bytes(255 * 255)
    fits = MAX_TAGS_BYTES // len(body)
    for sequence in range(1, fits + 1):
        reader.push(Page(-1, SERIAL, sequence, lacing, body, continued=sequence > 1).encode())
    one_more = Page(-1, SERIAL, fits + 1, lacing, body, continued=True).encode()
    with pytest.raises(MediaError, match="more than"):
        reader.push(one_more)


def test_an_audio_packet_beyond_its_bound_is_refused():
    big = b"".join(found.encode() for found in paginate(packet(70_000), 960, SERIAL, 2))
    with pytest.raises(MediaError, match="more than"):
        read(headers() + big)


def test_a_packet_over_two_pages_is_put_together():
    # The audio packet begins on a page that another one fills up.
    first, rest = packet(510), packet(300)
    split = Page(960, SERIAL, 2, b"\xff\xff\x01\xff", first + rest[:255]).encode()
    after = Page(1920, SERIAL, 3, bytes([46]), rest[255:], continued=True, last=True).encode()
    packets = read(headers() + split + after)[1]
    assert packets == [OggPacket(first, 0, 960), OggPacket(rest, 960, 960)]


def test_a_recording_that_starts_late_keeps_its_position():
    data = headers() + page(48_000, [packet(), packet()], 2)
    assert [found.start for found in read(data)[1]] == [48_000 - 1920, 48_000 - 960]


def test_a_hole_in_the_positions_is_a_hole_in_time():
    data = headers() + page(960, [packet()], 2) + page(9600, [packet()], 3)
    assert [found.start for found in read(data)[1]] == [0, 8640]


def test_a_position_that_steps_back_does_not_take_time_back():
    data = headers() + page(1920, [packet(), packet()], 2) + page(1000, [packet()], 3)
    assert [found.start for found in read(data)[1]] == [0, 960, 1920]


def test_a_single_page_shorter_than_its_packets_is_all_trim():
    data = headers() + page(700, [packet(), packet()], 2, last=True)
    assert [(found.start, found.trim_end) for found in read(data)[1]] == [(0, 260), (960, 960)]


def test_a_stream_cut_off_at_a_page_is_read_and_said_to_have_no_end():
    reader, packets = read(headers() + page(960, [packet()], 2))
    assert len(packets) == 1
    assert not reader.ended


def test_pages_of_another_stream_are_skipped():
    video = page(0, [b"\x80theora"], 0, serial=99, first=True)
    head, tags = headers()[:47], headers()[47:]
    data = video + head + tags + page(5, [b"frame"], 1, serial=99) + page(960, [packet()], 2)
    assert len(read(data)[1]) == 1


def other_streams(count):
    return b"".join(page(0, [b"\x80theora"], 0, serial=50 + n, first=True) for n in range(count))


BROKEN = {
    "nothing at all": (b"", "no ogg pages"),
    "another format": (b"RIFF....WAVE", "not an ogg page"),
    "garbage between pages": (headers() + b"xxxx", "not an ogg page"),
    "another codec": (page(0, [b"\x01vorbis"], 0, first=True), "no opus stream"),
    "audio of another codec": (
        page(0, [b"\x01vorbis"], 0, first=True) + page(0, [b"x"], 1, serial=1),
        "no opus stream",
    ),
    "no first page": (page(0, [b"x"], 5), "no ogg pages"),
    "unknown stream": (headers() + page(0, [packet()], 0, serial=1), "unknown stream"),
    "too many streams": (other_streams(17), "other streams"),
    "no tags": (headers()[:47], "before the opus comment"),
    "inside a page": (headers()[:-1], "inside a page"),
    "inside a packet": (
        headers() + Page(NO_GRANULE, SERIAL, 2, b"\xff", bytes(255)).encode(),
        "inside a packet",
    ),
    "page missing": (headers() + page(960, [packet()], 3), "is missing"),
    "page twice": (headers() + headers()[47:], "is missing"),
    "stream begins twice": (headers() + headers(), "starts twice"),
    "continuation of nothing": (headers() + page(960, [packet()], 2, continued=True), "continue"),
    "packet not continued": (
        headers()
        + Page(NO_GRANULE, SERIAL, 2, b"\xff", bytes(255)).encode()
        + page(960, [packet()], 3),
        "continue",
    ),
    "no position": (headers() + page(NO_GRANULE, [packet()], 2), "no position"),
    "position too small": (headers() + page(900, [packet()], 2), "holds 960 samples"),
    "page after the end": (
        headers() + page(960, [packet()], 2, last=True) + page(1920, [packet()], 3),
        "after the end",
    ),
    "chained": (written([packet()]) + written([packet()], serial=2), "chained"),
    "empty packet": (headers() + page(960, [b""], 2), "at least one byte"),
    "wrong version": (b"OggS\x01" + bytes(22), "version 1"),
    "wrong checksum": (headers()[:-1] + b"\x01", "checksum"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_reason(name):
    data, reason = BROKEN[name]
    with pytest.raises(MediaError, match=reason):
        read(data)


HEADS = {
    "not a head": (b"OpusTags" + bytes(11), "not an OpusHead"),
    "short": (OpusHead().encode()[:18], "at least 19"),
    "major version 1": (OpusHead().encode()[:8] + b"\x10" + OpusHead().encode()[9:], "version 16"),
    "no channels": (OpusHead(channels=0).encode(), "only mono and stereo"),
    "surround": (OpusHead(channels=6).encode()[:-1] + b"\x01", "only mono and stereo"),
    "ambisonics": (OpusHead(channels=2).encode()[:-1] + b"\x02", "only mono and stereo"),
}


@pytest.mark.parametrize("name", HEADS)
def test_an_identification_header_is_checked(name):
    data, reason = HEADS[name]
    with pytest.raises(MediaError, match=reason):
        OpusHead.decode(data)


def test_a_later_minor_version_may_have_more_fields():
    data = OpusHead(channels=2, output_gain=-256).encode()
    later = data[:8] + b"\x0f" + data[9:] + b"more"
    assert OpusHead.decode(later) == OpusHead(channels=2, output_gain=-256)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_garbage_is_a_media_error_or_read(garbage, prefix):
    start = [b"", b"OggS\x00", headers()[:47], headers()][prefix]
    try:
        read(start + garbage)
    except MediaError as error:
        assert str(error)  # noqa: PT017 - an empty tail is no error


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_file_is_a_media_error_or_read(data):
    good = bytearray(written([packet(n) for n in range(8)], packets_per_page=3))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MediaError):
        read(bytes(good))


@given(st.binary(max_size=120))
def test_garbage_for_tags_is_a_media_error_or_read(garbage):
    for decode in (OpusTags.decode, OpusHead.decode):
        for data in (garbage, b"OpusTags" + garbage, b"OpusHead" + garbage):
            try:
                decode(data)
            except MediaError as error:
                assert str(error)  # noqa: PT017 - some garbage is a header
