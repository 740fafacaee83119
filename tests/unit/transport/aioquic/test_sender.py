"""The books of a stream's sender, whatever is reported and in whatever order."""

import random
from collections.abc import Iterator

from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from hypothesis import given, settings
from hypothesis import strategies as st

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import Sender
from moqvox.transport.aioquic.private.packets import STREAM_HEAD_BYTES
from moqvox.transport.aioquic.streams import StreamTable
from moqvox.transport.aioquic.varint import encode_varint

ACKED, LOST = QuicDeliveryState.ACKED, QuicDeliveryState.LOST


def make() -> Sender:
    sender = Sender(0, True)
    sender.table = StreamTable(lambda stream: stream, lambda limit: False, Limits())
    sender.table.under_way_of = lambda _sender: [place(frame) for frame in sent]
    sent.clear()
    return sender


sent: list[QuicStreamFrame] = []
"""What the test has taken from the sender and not reported; an engine's packets know this."""


def place(frame: QuicStreamFrame) -> tuple[int, int, bool]:
    return frame.offset, frame.offset + len(frame.data), frame.fin


def report(sender: Sender, frame: QuicStreamFrame, delivery: QuicDeliveryState) -> None:
    sent.remove(frame)
    if delivery is ACKED and frame.offset % 2:
        sender.arrived(*place(frame))
    else:
        sender.on_data_delivery(delivery, *place(frame))


def take(sender: Sender, size: int) -> QuicStreamFrame | None:
    """Take a frame; every other one as a plain packet does."""
    if len(sent) % 2:
        frame = sender.get_frame(size)
    else:
        offset = sender.next_offset
        head = STREAM_HEAD_BYTES + 1 + (len(encode_varint(offset)) if offset else 0)
        cut = sender.cut(size + head, sender.end_offset)
        if cut is None:
            return None
        _, start, stop, fin = cut[1]
        frame = QuicStreamFrame(data=cut[0][len(cut[0]) - (stop - start) :], fin=fin, offset=start)
    if frame is not None:
        sent.append(frame)
    return frame


def frames(sender: Sender, size: int = 100) -> Iterator[QuicStreamFrame]:
    while not sender.buffer_is_empty:
        frame = take(sender, size)
        if frame is None:
            return
        yield frame


def test_a_copy_leaves_in_one_frame_with_what_is_new():
    sender = make()
    sender.write(b"one")
    list(frames(sender))
    sender.write(b"two")
    assert sender.repeat(0, 3) == 3
    (frame,) = frames(sender)
    assert (frame.offset, frame.data) == (0, b"onetwo")


def test_a_second_ack_and_a_loss_after_an_ack_change_nothing():
    sender = make()
    sender.write(b"one")
    (first,) = frames(sender)
    sender.repeat(0, 3)
    (copy,) = frames(sender)
    sender.write(b"two")
    (last,) = frames(sender)
    report(sender, copy, ACKED)
    report(sender, first, LOST)
    assert sender.buffer_is_empty
    report(sender, last, LOST)
    (again,) = frames(sender)
    assert (again.offset, again.data) == (3, b"two")


def test_a_loss_waits_for_the_copy_that_is_still_under_way():
    sender = make()
    sender.write(b"one")
    (first,) = frames(sender)
    sender.repeat(0, 3)
    (copy,) = frames(sender)
    report(sender, first, LOST)
    assert sender.buffer_is_empty
    report(sender, copy, LOST)
    assert [frame.data for frame in frames(sender)] == [b"one"]


def test_a_copy_that_waits_is_dropped_when_the_bytes_arrive():
    sender = make()
    sender.write(b"one", end_stream=True)
    (first,) = frames(sender)
    sender.repeat(0, 3)
    report(sender, first, ACKED)
    assert sender.is_finished
    assert not list(frames(sender))
    assert sender.repeat(0, 3) == 0


def test_what_was_never_sent_or_was_reset_is_not_repeated():
    sender = make()
    sender.write(bytes(200))
    take(sender, 50)
    assert sender.repeat(0, 200) == 50
    sender.reset(1)
    assert sender.repeat(0, 200) == 0


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_byte_arrives_whatever_is_repeated_lost_or_reported_late(seed):
    """The reference is a receiver that keeps what arrived, and a set of bytes on the way."""
    rng = random.Random(seed)
    sender, written, got = make(), b"", {}
    flying: list[QuicStreamFrame] = []
    ended = heard_end = False
    for step in range(2000):
        action = rng.random()
        if action < 0.25 and not ended:
            data = rng.randbytes(rng.randrange(40))
            ended = step > 60 and rng.random() < 0.2
            sender.write(data, end_stream=ended)
            written += data
        elif action < 0.45 and step < 600:
            start = rng.randrange(len(written) + 1)
            sender.repeat(start, start + rng.randrange(60))
        elif action < 0.7 and not sender.buffer_is_empty:
            frame = take(sender, rng.randrange(1, 80))
            if frame is not None:
                flying.append(frame)
        elif flying:
            frame = flying.pop(rng.randrange(len(flying)))
            arrives = rng.random() < 0.6
            if arrives:
                got.update(enumerate(frame.data, frame.offset))
                heard_end |= frame.fin
            report(sender, frame, ACKED if arrives else LOST)
        carried = {n for f in flying for n in range(f.offset, f.offset + len(f.data))}
        due = {n for part in sender._pending for n in part}
        assert carried | due | set(got) >= set(range(len(written)))
        assert sender.buffer_is_empty or due or sender._pending_eof
    if ended and not flying and sender.buffer_is_empty:
        assert sender.is_finished
        assert heard_end
    assert all(written[offset] == byte for offset, byte in got.items())
    if sender.is_finished:
        assert len(got) == len(written)
        assert not sender._flying
