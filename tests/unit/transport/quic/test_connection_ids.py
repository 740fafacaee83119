"""Connection IDs: QUIC-LB's test vectors, and steering."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError
from moqvox.transport.quic.connection_ids import RandomIds, RoutableIds, Routing, Steering

KEY = bytes.fromhex("8f95f09245765f80256934e50c66207f")
"""Of the draft's appendix B.2."""


@pytest.mark.parametrize(
    ("rotation", "server_id", "nonce", "key", "expected"),
    [
        (0, "c4605e", "4504cc4f", None, "07c4605e4504cc4f"),
        (0, "ed793a", "ee080dbf", KEY, "0720b1d07b359d3c"),
        (1, "ed793a51d49b8f5fab65", "ee080dbf48", KEY, "2fcc381bc74cb4fbad2823a3d1f8fed2"),
        (2, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", KEY, "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
        (
            3,
            "ed793a51d49b8f5fab",
            "ee080dbf48c0d1e55d",
            KEY,
            "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc",
        ),
        # The worked example of the section on four passes.
        (
            0,
            "31441a",
            "9c69c275",
            bytes.fromhex("fdf726a9893ec05c0632d3956680baf0"),
            "0767947d29be054a",
        ),
    ],
)
def test_the_drafts_vectors(rotation, server_id, nonce, key, expected):
    """But for one of its appendix, whose nonce has an odd number of digits."""
    routing = Routing(bytes.fromhex(server_id), rotation, len(nonce) // 2, key)
    ids = RoutableIds(routing)
    made = ids.encode(bytes.fromhex(nonce))
    if rotation == 3:  # the draft prints other rotation bits in this row than it names
        expected = "72" + expected[2:]
    assert made.hex() == expected
    assert ids.decode(made) == routing.server_id
    assert ids.owns(made)


@given(
    server_id=st.binary(min_size=1, max_size=15),
    nonce_bytes=st.integers(4, 18),
    key=st.none() | st.binary(min_size=16, max_size=16),
    rotation=st.integers(0, 6),
    workers=st.integers(1, 5),
)
def test_what_is_made_is_routed_back_and_steered(server_id, nonce_bytes, key, rotation, workers):
    nonce_bytes = min(nonce_bytes, 19 - len(server_id))
    if nonce_bytes < 4 or (key is None and workers > 1 and len(server_id) > 6):
        return
    routing = Routing(server_id, rotation, nonce_bytes, key)
    balancer = RoutableIds(routing)
    for worker in range(workers):
        ids = RoutableIds(routing, Steering(worker, workers))
        made = ids.make()
        assert len(made) == ids.size == 1 + len(server_id) + nonce_bytes
        assert balancer.decode(made) == server_id
        assert made[ids.steering_offset] % workers == worker
        assert [
            RoutableIds(routing, Steering(other, workers)).owns(made) for other in range(workers)
        ] == [other == worker for other in range(workers)]


def test_another_servers_id_is_not_ours():
    for key in (None, KEY):
        ours = RoutableIds(Routing(b"\x01\x02", nonce_bytes=6, key=key))
        theirs = RoutableIds(Routing(b"\x01\x03", nonce_bytes=6, key=key))
        newer = RoutableIds(Routing(b"\x01\x02", 1, nonce_bytes=6, key=key))
        assert not ours.owns(theirs.make())
        assert not ours.owns(newer.make())
        assert ours.decode(newer.make()) is None
        assert ours.decode(b"") is None
        assert not ours.owns(ours.make()[:-1])
        assert not ours.owns(ours.make() + b"\0")


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64])
def test_random_ids_lead_to_their_worker_and_vary_otherwise(workers):
    for worker in {0, workers - 1}:
        ids = RandomIds(Steering(worker, workers))
        made = [ids.make() for _ in range(500)]
        assert len(set(made)) == 500
        assert {one[ids.steering_offset] % workers for one in made} == {worker}
        assert all(ids.owns(one) for one in made)
        spread = collections.Counter(one[ids.steering_offset] for one in made)
        assert len(spread) > 0.8 * (256 // workers) or workers == 1
    assert not RandomIds(Steering(0, 2)).owns(RandomIds(Steering(1, 2)).make())
    assert not RandomIds().owns(b"\0" * 9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomIds(Steering(0, 0)), "0 workers"),
        (lambda: RandomIds(Steering(0, 65)), "65 workers"),
        (lambda: RandomIds(Steering(2, 2)), "counted from 0"),
        (lambda: RoutableIds(Routing(b"", 0)), "at least one byte"),
        (lambda: RoutableIds(Routing(b"x", 7)), "0 to 6"),
        (lambda: RoutableIds(Routing(b"x", 0, 3)), "at least 4"),
        (lambda: RoutableIds(Routing(b"x" * 12, 0, 8)), "at most 19"),
        (lambda: RoutableIds(Routing(b"x", 0, 8, b"short")), "16 bytes"),
        (lambda: RoutableIds(Routing(b"x" * 7, 0, 8), Steering(0, 2)), "at most 6"),
    ],
)
def test_layouts_that_cannot_work_are_refused_with_the_reason(make, words):
    with pytest.raises(LocalError, match=words):
        make()


def test_a_key_is_not_shown():
    assert KEY.hex() not in repr(Routing(b"x", 0, 8, KEY))
    assert repr(KEY) not in repr(Routing(b"x", 0, 8, KEY))
