import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moqvox.errors import LocalError, MediaError
from moqvox.media.catalog import (
    MAX_CATALOG_BYTES,
    AudioRendition,
    Catalog,
    CatalogReader,
    Container,
    Timeline,
    decode_catalog,
    opus_rendition,
)
from moqvox.media.container import ContainerKind
from moqvox.media.opus_head import OpusHead

SEEN = json.loads((Path(__file__).parents[2] / "vectors/hang_catalogs.json").read_text())


@pytest.mark.parametrize("sample", SEEN["catalogs"], ids=lambda sample: sample["name"])
def test_the_catalogs_of_other_publishers_are_read(sample):
    catalog = decode_catalog(json.dumps(sample["catalog"]).encode())
    assert catalog.unusable == {}
    name, rendition = catalog.first_opus()
    expected = sample["first_opus"]
    assert name == expected["track"]
    assert rendition.sample_rate == expected["sampleRate"]
    assert rendition.number_of_channels == expected["numberOfChannels"]
    assert rendition.container_kind is ContainerKind(expected["container"])
    head = rendition.opus_head()
    assert (head.pre_skip if head else None) == expected["preSkip"]


@pytest.mark.parametrize("sample", SEEN["catalogs"], ids=lambda sample: sample["name"])
def test_sections_that_are_not_audio_are_published_again_as_they_came(sample):
    catalog = decode_catalog(json.dumps(sample["catalog"]).encode())
    again = json.loads(catalog.encode())
    assert {**again, "audio": 0} == {**sample["catalog"], "audio": 0}
    assert decode_catalog(catalog.encode()) == catalog


def test_our_rendition_is_the_one_of_moq_rs_byte_for_byte():
    description = "4f707573486561640101380180bb0000000000"
    rendition = opus_rendition(bitrate=32_000)
    assert json.loads(Catalog(audio={"audio": rendition}).encode()) == {
        "audio": {
            "renditions": {
                "audio": {
                    "codec": "opus",
                    "sampleRate": 48_000,
                    "numberOfChannels": 1,
                    "bitrate": 32_000,
                    "description": description,
                    "container": {"kind": "legacy"},
                    "jitter": 20,
                }
            }
        }
    }
    assert rendition.opus_head() == OpusHead()


@pytest.mark.parametrize(("frame_ms", "jitter"), [(2.5, 3), (20, 20), (60, 60)])
def test_jitter_is_whole_milliseconds_and_no_less_than_a_frame(frame_ms, jitter):
    assert opus_rendition(frame_ms=frame_ms).jitter == jitter


@pytest.mark.parametrize(
    "arguments", [{"sample_rate": 44_100}, {"channels": 3}, {"container": ContainerKind.CMAF}]
)
def test_a_rendition_that_cannot_be_published_is_refused(arguments):
    with pytest.raises(LocalError):
        opus_rendition(**arguments)


def rendition_json(**changes):
    config = {"codec": "opus", "sampleRate": 48_000, "numberOfChannels": 1, **changes}
    return json.dumps({"audio": {"renditions": {"a": config}}}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"sampleRate": 48_000.0},
        {"bitrate": None, "description": None, "jitter": None},
        {"futureField": {"x": 1}},
        {"container": {"kind": "legacy", "more": True}},
        {"timeline": {"track": "a.timeline", "timescale": 1000, "wall": 5}},
        {"broadcast": "./source"},
    ],
)
def test_what_the_format_allows_is_taken(changes):
    assert decode_catalog(rendition_json(**changes)).first_opus() is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": None},
        {"sampleRate": 0},
        {"sampleRate": -1},
        {"sampleRate": 10**9},
        {"sampleRate": "fast"},
        {"numberOfChannels": 0},
        {"numberOfChannels": 256},
        {"bitrate": -1},
        {"bitrate": 2**60},
        {"jitter": 0.5},
        {"container": "legacy"},
        {"container": {}},
        {"codec": "x" * 1025},
        {"description": "0" * 65_537},
    ],
)
def test_one_bad_rendition_does_not_take_the_others_with_it(changes):
    document = json.loads(rendition_json())
    document["audio"]["renditions"]["bad"] = json.loads(rendition_json(**changes))["audio"][
        "renditions"
    ]["a"]
    catalog = decode_catalog(json.dumps(document).encode())
    assert list(catalog.audio) == ["a"]
    assert list(catalog.unusable) == ["bad"]
    assert catalog.unusable["bad"]


@pytest.mark.parametrize(
    ("kind", "known", "usable"),
    [
        ("legacy", ContainerKind.LEGACY, True),
        ("loc", ContainerKind.LOC, True),
        ("cmaf", ContainerKind.CMAF, False),
        ("matroska", None, False),
    ],
)
def test_only_the_containers_that_are_read_are_chosen(kind, known, usable):
    catalog = decode_catalog(rendition_json(container={"kind": kind, "init": "AAAA"}))
    assert catalog.audio["a"].container_kind is known
    assert (catalog.first_opus() is not None) is usable


def test_another_codec_is_not_chosen():
    assert decode_catalog(rendition_json(codec="mp4a.40.2")).first_opus() is None


def test_a_rendition_without_a_container_is_legacy_and_says_so_when_published():
    catalog = decode_catalog(rendition_json())
    assert catalog.audio["a"].container == Container(kind="legacy")
    assert b'"container":{"kind":"legacy"}' in catalog.encode()


@pytest.mark.parametrize("description", ["zz", "4f", "é", "4f70757348656164"])
def test_a_description_that_is_no_opus_head_is_a_media_error(description):
    rendition = decode_catalog(rendition_json(description=description)).audio["a"]
    with pytest.raises(MediaError):
        rendition.opus_head()


@pytest.mark.parametrize(
    "text", [b"{}", b'{"audio":null}', b'{"audio":{}}', b'{"audio":{"renditions":{}}}']
)
def test_a_broadcast_without_audio_has_none(text):
    assert decode_catalog(text).audio == {}
    assert decode_catalog(text).first_opus() is None


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'{"audio":[]}', b'{"audio":{"renditions":[]}}', b'{"audio":{"renditions":1}}'],
)
def test_what_is_no_catalog_is_refused(text):
    with pytest.raises(MediaError):
        decode_catalog(text)


def test_a_catalog_is_bounded_in_bytes_and_in_renditions():
    with pytest.raises(MediaError, match="at most"):
        decode_catalog(b" " * (MAX_CATALOG_BYTES + 1))
    many = {"audio": {"renditions": {str(n): {} for n in range(257)}}}
    with pytest.raises(MediaError, match="257 renditions"):
        decode_catalog(json.dumps(many).encode())
    with pytest.raises(LocalError, match="at most"):
        Catalog(others={"x": "y" * MAX_CATALOG_BYTES}).encode()


def test_a_catalog_is_followed_through_changes_compressed_or_not():
    frames = [
        Catalog(audio={"a": opus_rendition()}).encode(),
        b'{"audio":{"renditions":{"a":null,"b":{"codec":"opus","sampleRate":48000,'
        b'"numberOfChannels":2}}}}',
        b'{"audio":{"renditions":{"b":{"bitrate":64000}}}}',
    ]
    deflate = zlib.compressobj(wbits=-15)
    packed = [(deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4] for text in frames]
    for reader, group in ((CatalogReader(), frames), (CatalogReader(compressed=True), packed)):
        reader.start()
        catalogs = [reader.push(frame) for frame in group]
        assert [list(catalog.audio) for catalog in catalogs] == [["a"], ["b"], ["b"]]
        assert catalogs[2].audio["b"].bitrate == 64_000


renditions = st.builds(
    AudioRendition,
    codec=st.sampled_from(["opus", "mp4a.40.2"]),
    sample_rate=st.integers(1, 768_000),
    number_of_channels=st.integers(1, 255),
    bitrate=st.none() | st.integers(0, 2**53 - 1),
    description=st.none() | st.binary(max_size=30).map(bytes.hex),
    container=st.builds(Container, st.sampled_from(["legacy", "loc", "x"]), st.none() | st.text()),
    jitter=st.none() | st.integers(0, 10_000),
    broadcast=st.none() | st.text(max_size=20),
    timeline=st.none() | st.builds(Timeline, st.text(max_size=9), st.integers(1, 10**6)),
)


@settings(max_examples=100)
@given(st.dictionaries(st.text(max_size=20), renditions, max_size=4))
def test_what_is_published_is_read(audio):
    catalog = Catalog(audio=audio, others={"user": {"name": "x"}})
    assert decode_catalog(catalog.encode()) == catalog


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["audio", "renditions", "codec", "track", "name", "config", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(json_values | st.binary(max_size=40))
def test_any_json_is_a_media_error_or_a_catalog(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    try:
        decode_catalog(text)
    except MediaError as error:
        assert str(error)  # noqa: PT017 - some of it is a catalog
