import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moqvox.errors import MediaError
from moqvox.media.snapshot import (
    MAX_DELTAS,
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    MAX_GROUP_BYTES,
    SnapshotReader,
    merge_patch,
)

CLOSING = bytes.maketrans(b"{[", b"}]")

# RFC 7396, appendix A, those whose target and patch are objects.
EXAMPLES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


class Deflate:
    def __init__(self):
        self._stream = zlib.compressobj(wbits=-15)

    def __call__(self, text):
        data = self._stream.compress(text) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(b"\x00\x00\xff\xff")
        return data[:-4]


@pytest.mark.parametrize(("target", "patch", "expected"), EXAMPLES)
def test_the_merges_of_the_rfc(target, patch, expected):
    merge_patch(target, patch)
    assert target == expected


def test_a_group_is_a_snapshot_and_changes_to_it():
    reader = SnapshotReader()
    assert reader.push(b'{"a":1,"b":{"c":2}}') == {"a": 1, "b": {"c": 2}}
    assert reader.push(b'{"b":{"c":3},"d":4}') == {"a": 1, "b": {"c": 3}, "d": 4}
    assert reader.push(b'{"a":null}') == {"b": {"c": 3}, "d": 4}
    reader.start()
    assert reader.push(b'{"e":5}') == {"e": 5}


DOCUMENTS = st.lists(
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 9) | st.none()),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40)
@given(DOCUMENTS)
def test_compressed_and_plain_groups_say_the_same(documents):
    texts = [json.dumps(one).encode() for one in documents]
    plain, packed = SnapshotReader(), SnapshotReader(compressed=True)
    for _ in range(2):
        plain.start()
        packed.start()
        deflate = Deflate()
        for text in texts:
            assert plain.push(text) == packed.push(deflate(text))


def test_a_bomb_is_stopped_at_the_bound():
    bomb = Deflate()(b'{"a":"' + b"x" * 100 * MAX_FRAME_BYTES + b'"}')
    assert len(bomb) < MAX_FRAME_BYTES
    with pytest.raises(MediaError, match="inflates to more"):
        SnapshotReader(compressed=True).push(bomb)


def test_a_frame_of_the_largest_size_is_taken():
    text = b'{"a":"' + b"x" * (MAX_FRAME_BYTES - 8) + b'"}'
    assert SnapshotReader().push(text) == SnapshotReader(compressed=True).push(Deflate()(text))
    with pytest.raises(MediaError, match="at most"):
        SnapshotReader().push(text + b" ")


def test_a_group_is_bounded_in_bytes_and_in_changes():
    reader = SnapshotReader()
    text = b'{"a":"' + b"x" * (MAX_FRAME_BYTES - 8) + b'"}'
    for _ in range(MAX_GROUP_BYTES // MAX_FRAME_BYTES):
        reader.push(text)
    with pytest.raises(MediaError, match="at most"):
        reader.push(b"{}")
    reader.start()
    for _ in range(MAX_DELTAS + 1):
        reader.push(b"{}")
    with pytest.raises(MediaError, match="changes"):
        reader.push(b"{}")


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"1", b"null", b"{", b'{"a":}', b"\xff", b'{"a":1}x', b'{"a":' * 50_000]
)
def test_what_is_no_object_is_refused(text):
    with pytest.raises(MediaError, match="not a json object"):
        SnapshotReader().push(text)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 5_000, 40_000])
@pytest.mark.parametrize("bracket", [b'{"a":', b'{"a":[{"a":'])
def test_json_nested_too_deep_is_refused(depth, bracket):
    text = bracket * depth + b"1" + bytes(bracket[::-1]).translate(CLOSING, b'"a:') * depth
    with pytest.raises(MediaError, match=r"recursion|nested|at most"):
        SnapshotReader().push(text)


def test_json_nested_to_the_bound_is_merged():
    reader = SnapshotReader()
    reader.push(b"{}")
    assert reader.push(b'{"a":' * (MAX_DEPTH - 1) + b"{}" + b"}" * (MAX_DEPTH - 1))


@pytest.mark.parametrize("bad", [b"\xff\xff\xff", b"\x07", zlib.compress(b"{}")])
def test_damaged_compression_is_refused(bad):
    with pytest.raises(MediaError):
        SnapshotReader(compressed=True).push(bad)


def test_a_stream_that_ends_itself_is_refused():
    stream = zlib.compressobj(wbits=-15)
    with pytest.raises(MediaError, match="ends its compressed stream"):
        SnapshotReader(compressed=True).push(stream.compress(b"{}") + stream.flush())


def test_after_a_bad_frame_the_group_is_lost_and_the_next_is_not():
    reader = SnapshotReader()
    reader.push(b"{}")
    with pytest.raises(MediaError):
        reader.push(b"{")
    with pytest.raises(MediaError, match="earlier frame"):
        reader.push(b'{"a":1}')
    reader.start()
    assert reader.push(b'{"a":1}') == {"a": 1}


@settings(max_examples=200)
@given(st.binary(max_size=60), st.booleans())
def test_garbage_is_a_media_error_or_an_object(garbage, compressed):
    try:
        assert isinstance(SnapshotReader(compressed=compressed).push(garbage), dict)
    except MediaError as error:
        assert str(error)  # noqa: PT017 - some garbage is an object
