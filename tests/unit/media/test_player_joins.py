"""Where playing stops, goes on, jumps or changes speed: nothing clicks, nothing is lost."""

import numpy as np
from tests.unit.media.playing import (
    FRAME,
    RATE,
    Decoding,
    jump,
    listen,
    make,
    push_all,
    wave,
)

from moqvox.media.decision import (
    Late,
    Outcome,
    Policy,
    Silence,
    State,
)


def test_a_flush_fades_in_a_line_and_then_nothing_is_heard() -> None:
    pcm = np.full(8_000, 8_000, "<i2")
    player = make()
    push_all(player, pcm)
    listen(player, 1_000)
    (ended,) = player.flush(fade_us=20_000)
    out = listen(player, 800)
    gain = np.arange(160, 0, -1) / 160
    assert np.array_equal(out[:160], (8_000 * gain).astype(np.int16))
    assert np.abs(out[160:200]).max() <= 50
    assert not out[200:].any()
    assert ended.totals.heard_samples == 1_160
    assert ended.totals.heard_us == 145_000
    assert player.push_packet(1, 1_000_000, pcm[:FRAME].tobytes(), 0).outcome is Outcome.STALE


def test_a_flush_without_a_fade_does_not_click_either() -> None:
    player = make()
    push_all(player, wave(8_000))
    before = listen(player, 1_010)
    player.flush(fade_us=0)
    after = listen(player, 400)
    assert jump(np.concatenate((before[-50:], after))) <= jump(wave(400)) + 250
    assert not after[40:].any()


def test_an_underrun_and_its_end_do_not_click() -> None:
    pcm = wave(3_200)
    player = make()
    push_all(player, pcm[:1_610])
    out = [listen(player, 2_000)]
    push_all(player, pcm, start=1_610, now_us=250_000)
    out.append(listen(player, 1_500, 250_000))
    heard = np.concatenate(out)
    assert np.array_equal(heard[:1_610], pcm[:1_610])
    assert jump(heard) <= jump(pcm) + 250
    assert np.array_equal(heard[2_040:3_500], pcm[1_650:3_110])
    totals = player.heard(1)
    assert totals is not None
    assert totals.silence_samples == 390
    assert totals.underruns == 1


def test_pausing_and_resuming_loses_nothing_and_does_not_click() -> None:
    pcm = wave(3_200)
    player = make()
    push_all(player, pcm)
    out = [listen(player, 505)]
    player.pause()
    out.append(listen(player, 400))
    assert player.stats(0).state is State.PAUSED
    player.resume()
    out.append(listen(player, 1_000))
    heard = np.concatenate(out)
    assert jump(heard) <= jump(pcm) + 250
    assert np.array_equal(heard[905 + 40 : 1_905], pcm[665 + 40 : 1_665])


def test_resuming_within_the_fade_does_not_click() -> None:
    pcm = wave(3_200)
    player = make()
    push_all(player, pcm)
    out = [listen(player, 505)]
    player.pause()
    out.append(listen(player, 30))
    player.resume()
    out.append(listen(player, 600))
    assert jump(np.concatenate(out)) <= jump(pcm) + 250


def test_a_flush_during_the_fade_of_a_pause_still_has_its_audio() -> None:
    decoding = Decoding()
    player = make(decoding)
    push_all(player, wave(8_000))
    listen(player, 150)
    player.pause(fade_us=60_000)
    (ended,) = player.flush()
    out = listen(player, 600)
    assert len(decoding.packets) == 4
    assert out[:300].any()
    assert not out[520:].any()
    assert ended.totals.heard_samples == 150 + 480


def test_skipping_decodes_only_what_the_decoder_needs_to_settle() -> None:
    policy = Policy(late=Late.SKIP, target_min_us=60_000, target_max_us=60_000)
    decoding = Decoding()
    player = make(decoding, policy=policy)
    pcm = wave(100 * FRAME)
    push_all(player, pcm)
    out = listen(player, FRAME)
    assert [packet for _, packet in decoding.packets] == [
        pcm[k * FRAME : (k + 1) * FRAME].tobytes() for k in (93, 94, 95, 96, 97)
    ]
    assert np.array_equal(out[40:], pcm[97 * FRAME + 40 : 98 * FRAME])
    assert not player._skipped


def test_catching_up_after_a_stall_is_exact_and_ends() -> None:
    """A second of stall: silence goes in, then the delay is won back sample by sample."""
    pcm = wave(RATE * 20)
    player = make(policy=Policy(target_min_us=100_000, target_max_us=100_000))
    out = []
    for tick in range(1_050):
        now_us = tick * 20_000
        if not 100 <= tick < 150:
            first = 100 if tick == 150 else tick
            for k in range(first, min(tick + 1, 1_000)):
                packet = pcm[k * FRAME : (k + 1) * FRAME].tobytes()
                player.push_packet(1, k * 20_000, packet, now_us)
        out.append(listen(player, FRAME, now_us))
    totals = player.heard(1)
    assert totals is not None
    assert totals.heard_samples == len(pcm)
    assert totals.underruns == 2  # the stall, and the end that was not announced
    silence = totals.silence_samples - sum(
        each.samples for each in player.decisions if isinstance(each, Silence)
    )
    assert silence > 0.8 * RATE
    assert 0 <= totals.removed_samples - 0.92 * RATE <= 200
    heard = np.concatenate(out)
    assert jump(heard) <= jump(pcm) * 1.05 + 250


def test_slowing_down_fills_in_for_a_source_that_runs_slow() -> None:
    """The sender's clock is 2 % slow; without stretch there is an underrun every 3 s."""
    pcm = wave(RATE * 10)
    underruns = {}
    for ppm in (0, 60_000):
        player = make(policy=Policy(target_min_us=60_000, target_max_us=60_000, stretch_ppm=ppm))
        sent = 0
        for tick in range(490):
            now_us = tick * 20_000
            while sent * 20_400 <= now_us:
                packet = pcm[sent * FRAME : (sent + 1) * FRAME].tobytes()
                player.push_packet(1, sent * 20_000, packet, now_us)
                sent += 1
            listen(player, FRAME, now_us)
        totals = player.heard(1)
        assert totals is not None
        underruns[ppm] = totals.underruns
        assert (totals.repeated_samples > 0) == (ppm > 0)
    assert underruns[0] >= 2
    assert underruns[60_000] == 0
