"""When a peer that probes is told what the way to it is worth."""

from moqvox.driver.estimates import AGAIN_AFTER, LOOK_EVERY, MEASURED_BYTES, NEWS, Estimates
from moqvox.transport.interface import Stats

WINDOW_BYTES = 10_000


def stats(*, rtt=0.1, sent_bytes=0, path_changes=0):
    return Stats(
        rtt=rtt,
        congestion_window_bytes=WINDOW_BYTES,
        sent_bytes=sent_bytes,
        path_changes=path_changes,
    )


def told(looks):
    """Look every time; list the numbers of the looks at which something was told."""
    estimates = Estimates()
    return [
        number
        for number, look in enumerate(looks)
        if estimates.take(look, number * LOOK_EVERY) is not None
    ]


def test_it_is_told_in_bits_and_milliseconds():
    assert Estimates().take(stats(rtt=0.1), 0.0) == (8 * WINDOW_BYTES * 10, 100)


def test_nothing_is_told_before_there_is_a_round_trip():
    assert told([stats(rtt=0.0), stats(rtt=0.0), stats()]) == [2]


def test_what_stays_the_same_is_told_seldom():
    every = int(AGAIN_AFTER / LOOK_EVERY)
    looks = [stats(sent_bytes=number * MEASURED_BYTES) for number in range(2 * every + 1)]
    assert told(looks) == [0, every, 2 * every]


def test_what_has_moved_is_told_at_the_next_look():
    rtts = [0.1, 0.1, 0.1 * (1 + 1.1 * NEWS), 0.1]
    looks = [stats(rtt=rtt, sent_bytes=n * MEASURED_BYTES) for n, rtt in enumerate(rtts)]
    assert told(looks) == [0, 2, 3]


def test_a_report_alone_measures_nothing_that_is_worth_a_report():
    looks = [stats(rtt=rtt, sent_bytes=n * 100) for n, rtt in enumerate([0.1, 0.2, 0.05, 0.3])]
    assert told(looks) == [0]


def test_another_path_is_news_though_nothing_was_sent_on_it():
    assert told([stats(), stats(path_changes=1), stats(path_changes=1)]) == [0, 1]


def test_who_asks_later_is_told_at_the_next_look():
    estimates = Estimates()
    assert estimates.take(stats(), 0.0) is not None
    assert estimates.take(stats(), LOOK_EVERY) is None
    estimates.forget()
    assert estimates.take(stats(), 2 * LOOK_EVERY) is not None
