"""The player: what comes out is what was pushed, and the account says so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.media.playing import (
    BAD,
    FIXED,
    FRAME,
    RATE,
    Decoding,
    listen,
    make,
    push_all,
    wave,
)
from tests.unit.media.signals import opus_packets

from moqvox.errors import LocalError
from moqvox.media.codec import Decoder
from moqvox.media.decision import (
    CatchUp,
    Ended,
    Ending,
    Late,
    Outcome,
    Play,
    Policy,
    Remove,
    State,
)
from moqvox.media.player import Player


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=30))
def test_what_is_pushed_comes_out_unchanged_however_it_is_asked_for(sizes: list[int]) -> None:
    pcm = wave(3_200)
    player = make()
    push_all(player, pcm)
    player.end(1)
    out = np.concatenate([listen(player, size) for size in [*sizes, 3_200]])
    assert np.array_equal(out[:3_200], pcm)
    (ended,) = player.take_ended()
    assert ended.how is Ending.PLAYED
    assert (ended.totals.heard_samples, ended.totals.heard_us) == (3_200, 400_000)
    assert player.take_ended() == []


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=12))
def test_order_of_arrival_and_repeats_do_not_matter(order: list[int], again: list[int]) -> None:
    pcm = wave(12 * FRAME)
    decoding = Decoding()
    player = make(decoding)
    for k in [*order, *again]:
        player.push_packet(1, k * 20_000, pcm[k * FRAME : (k + 1) * FRAME].tobytes(), 0)
    player.end(1)
    assert np.array_equal(listen(player, len(pcm)), pcm)
    assert b"".join(packet for _, packet in decoding.packets) == pcm.tobytes()


def test_packets_are_decoded_just_before_they_sound_and_once() -> None:
    decoding = Decoding()
    player = make(decoding, policy=Policy(catch_up=CatchUp.LIVE, catch_up_after_us=0))
    push_all(player, wave(100 * FRAME, 203.3))
    assert decoding.packets == []
    for k in range(50):
        listen(player, FRAME, k * 20_000)
        assert len({packet for _, packet in decoding.packets}) == len(decoding.packets)
    played = player.heard(1)
    assert played is not None
    ahead = len(decoding.packets) * FRAME - played.heard_samples
    assert 0 <= ahead <= 3 * FRAME
    assert played.removed_samples > 0
    assert len(player._decoded) <= 4


def test_each_item_has_a_fresh_decoder() -> None:
    decoding = Decoding()
    player = make(decoding)
    for item in (1, 2):
        push_all(player, wave(800), item)
        player.end(item)
    listen(player, 1_700)
    assert {number for number, _ in decoding.packets} == {1, 2}
    assert [number for number, _ in decoding.packets] == [1] * 5 + [2] * 5


def test_a_packet_that_cannot_be_decoded_is_silent_and_counted() -> None:
    pcm = wave(480)
    player = make()
    for k, packet in enumerate([pcm[:160].tobytes(), BAD, pcm[320:].tobytes()]):
        player.push_packet(1, k * 20_000, packet, 0)
    player.end(1)
    out = listen(player, 480)
    assert np.array_equal(out[:160], pcm[:160])
    assert not out[160:320].any()
    assert np.array_equal(out[320:], pcm[320:])
    assert player.undecodable == 1


def test_a_decoder_that_returns_another_length_does_not_shift_the_rest() -> None:
    lengths = iter([100, 161, 500])
    player = Player(
        RATE,
        lambda: lambda packet: packet[:1] * (2 * next(lengths)) + b"\x01",
        policy=FIXED,
        samples_of=lambda packet: FRAME,
    )
    for k, packet in enumerate([b"a", b"b", b"c"]):
        player.push_packet(1, k * 20_000, packet, 0)
    out = listen(player, 480).tobytes()
    assert out == b"a" * 200 + b"\0" * 120 + b"b" * 320 + b"c" * 320


def test_bytes_that_are_no_packet_are_refused() -> None:
    player = make()
    assert player.push_packet(1, 0, b"", 0).outcome is Outcome.INVALID
    opus = Player(48_000, Decoding().open)
    assert opus.push_packet(1, 0, b"", 0).outcome is Outcome.INVALID
    assert opus.push_packet(1, 0, b"\x03\x7f", 0).outcome is Outcome.INVALID


def test_gaps_are_silent_and_the_audio_around_them_is_exact() -> None:
    pcm = wave(2 * FRAME)
    player = make()
    player.push_packet(1, 0, pcm[:FRAME].tobytes(), 0)
    player.push_packet(1, 60_000, pcm[FRAME:].tobytes(), 0)
    player.end(1)
    out = listen(player, 4 * FRAME)
    assert np.array_equal(out[:FRAME], pcm[:FRAME])
    assert not out[FRAME + 40 : 3 * FRAME].any()
    assert np.array_equal(out[3 * FRAME :], pcm[FRAME:])


def test_nothing_is_kept_of_items_that_are_over() -> None:
    player = make()
    for item in range(20):
        push_all(player, wave(1_600), item)
        listen(player, 500)
        if item % 2:
            player.flush()
        else:
            player.reset(item)
        listen(player, 500)
    push_all(player, wave(320), 20)
    player.end(20)
    listen(player, 500)
    assert player.stats(0).state is State.IDLE
    assert player._packets == {}
    assert player._decoded == {}
    assert player.stats(0).held_bytes == 0


def test_accounts_nobody_takes_are_bounded() -> None:
    player = make()
    for item in range(300):
        player.end(item)
        listen(player, 1)
    ended = player.take_ended()
    assert [each.item for each in ended] == list(range(44, 300))


def test_stereo_stays_in_step() -> None:
    left, right = wave(1_600), wave(1_600, 300)
    pcm = np.stack((left, right), axis=1)
    player = make(channels=2)
    for at in range(0, 1_600, FRAME):
        player.push_packet(1, at * 125, pcm[at : at + FRAME].tobytes(), 0)
    out = listen(player, 1_600).reshape(-1, 2)
    assert np.array_equal(out, pcm)


def test_opus_comes_out_as_the_codec_decodes_it() -> None:
    packets = opus_packets(50)
    decoder = Decoder(48_000, 1)
    expected = b"".join(decoder.decode(packet) for packet in packets)
    player = Player(48_000, lambda: Decoder(48_000, 1).decode)
    for k, packet in enumerate(packets):
        player.push_packet(7, 5_000_000 + k * 20_000, packet, 0)
    player.end(7)
    assert player.render(48_000, 0) == expected
    (ended,) = player.take_ended()
    assert ended.totals.heard_us == 1_000_000
    assert ended.totals.heard_timestamp_us == 6_000_000


def test_opus_at_another_rate_keeps_its_length() -> None:
    player = Player(16_000, lambda: Decoder(16_000, 1).decode)
    for k, packet in enumerate(opus_packets(10)):
        assert player.push_packet(1, k * 20_000, packet, 0).kept == 320


def test_wrong_arguments_are_the_callers_bug() -> None:
    with pytest.raises(LocalError, match="3 channels"):
        make(channels=3)
    with pytest.raises(LocalError, match="asked for -1 samples"):
        make().render(-1, 0)


storm = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 3), st.integers(0, 60), st.integers(1, 30)),
        st.tuples(st.just("render"), st.integers(0, 900)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("reset"), st.integers(0, 3)),
        st.tuples(st.just("flush"), st.integers(0, 50_000)),
        st.tuples(st.just("pause")),
        st.tuples(st.just("resume")),
    ),
    min_size=8,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(storm, st.sampled_from(Late), st.integers(0, 500_000))
def test_any_storm_renders_exactly_what_was_asked_for_and_accounts_for_it(
    script: list[tuple], late: Late, step_us: int
) -> None:
    policy = Policy(
        late=late, catch_up=CatchUp.LIVE, catch_up_after_us=0, stretch_ppm=100_000, bytes_max=65_536
    )
    pcm = wave(100 * FRAME, 150)
    decoding = Decoding()
    player = make(decoding, policy=policy)
    now_us = 0
    heard: dict[int, int] = {}
    over: dict[int, Ended] = {}
    for verb, *args in script:
        now_us += step_us
        if verb == "push":
            item, start, count = args
            for k in range(start, start + count):
                packet = pcm[k * FRAME : (k + 1) * FRAME].tobytes()
                player.push_packet(item, k * 20_000, packet, now_us)
        elif verb == "render":
            listen(player, args[0], now_us)
            for each in player.decisions:
                if isinstance(each, (Play, Remove)):
                    assert each.item not in over
                    heard[each.item] = heard.get(each.item, 0) + each.samples
        elif verb == "flush":
            over |= {each.item: each for each in player.flush(*args)}
        elif verb == "reset":
            ended = player.reset(*args)
            over |= {ended.item: ended} if ended else {}
        else:
            getattr(player, verb)(*args)
        over |= {each.item: each for each in player.take_ended()}
        held = sum(len(each) for each in player._packets.values())
        assert held <= player.stats(now_us).frames + 8
        assert len(player._decoded) <= 4
    for item, ended in over.items():
        assert ended.totals.heard_samples >= heard.get(item, 0)
