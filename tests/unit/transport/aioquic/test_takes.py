"""Whether a frame may leave with the next packet: the short way says what the long one does."""

import random
from types import SimpleNamespace

from moqvox.transport.aioquic.limits import BURST_BYTES, SLACK_BYTES
from moqvox.transport.aioquic.private.credit import CreditedConnection
from moqvox.transport.send_queue import QUANTUM_BYTES

STREAM = 3


def connection(*, fed, used, max_data, window, allowance):
    return SimpleNamespace(
        _remote_max_data_used=used,
        _remote_max_data=max_data,
        recovery=SimpleNamespace(window_left=window),
        table=SimpleNamespace(fed_bytes=fed, allowance=lambda stream: allowance),
    )


def test_a_frame_is_taken_exactly_when_there_is_room_for_it():
    dice = random.Random(7)
    edges = (0, 1, QUANTUM_BYTES, SLACK_BYTES, BURST_BYTES)
    answers = set()
    for _ in range(2000):
        used = dice.choice((0, 5000))
        one = connection(
            used=used,
            fed=used + max(0, dice.choice(edges) + dice.randint(-2, 2)),
            max_data=used + max(0, dice.choice((*edges, 10 * BURST_BYTES)) + dice.randint(-2, 2)),
            window=dice.choice((-5000, *edges)) + dice.randint(-2, 2),
            allowance=dice.choice((-1, 0, 60, 10**6)),
        )
        size = max(0, dice.choice((0, 60, QUANTUM_BYTES)) + dice.randint(-2, 2))
        fits = size <= QUANTUM_BYTES and size <= min(
            CreditedConnection.room(one), one.table.allowance(STREAM)
        )
        assert CreditedConnection.takes(one, STREAM, size) is fits
        answers.add(fits)
    assert answers == {True, False}
