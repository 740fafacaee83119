"""The send queue: whose turn it is, who must pause, and that no byte is lost or doubled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moqvox.errors import LocalError
from moqvox.transport.send_queue import QUANTUM_BYTES, Chunk, Marks, SendQueue

PLENTY = 1 << 40


def plenty(_stream: int) -> int:
    return PLENTY


def queue_of(*streams: tuple[int, int], marks: Marks | None = None) -> SendQueue:
    queue = SendQueue(marks)
    for stream, priority in streams:
        queue.open(stream, priority)
    return queue


def test_the_urgent_stream_goes_first_and_equals_take_turns():
    queue = queue_of((1, 5), (2, 5), (3, 0))
    for stream in (1, 2):
        queue.push(stream, bytes(3 * QUANTUM_BYTES), fin=True)
    assert [chunk.stream for chunk in queue.take(QUANTUM_BYTES, plenty)] == [1]
    queue.push(3, b"now", fin=True)
    order = [chunk.stream for chunk in queue.take(PLENTY, plenty)]
    assert order == [3, 2, 1, 2, 1, 2]


def test_the_end_travels_with_the_last_bytes_or_alone():
    queue = queue_of((1, 0), (2, 0))
    queue.push(1, b"all", fin=True)
    queue.push(2, b"", fin=True)
    assert queue.take(PLENTY, plenty) == [Chunk(1, b"all", fin=True), Chunk(2, b"", fin=True)]
    assert 1 not in queue
    assert not queue.push(1, b"more", fin=False)


def test_an_end_alone_needs_no_budget_but_overtakes_nothing():
    queue = queue_of((1, 0), (2, 0), (3, 0))
    queue.push(1, b"", fin=True)
    queue.push(2, b"bytes", fin=False)
    queue.push(3, b"", fin=True)
    assert queue.take(0, plenty) == [Chunk(1, b"", fin=True)]
    assert queue.take(0, plenty) == []
    assert queue.take(5, plenty) == [Chunk(2, b"bytes", fin=False), Chunk(3, b"", fin=True)]
    assert not queue.is_ready


def test_a_stream_without_credit_is_parked_and_costs_nothing():
    asked: list[int] = []
    credit = {1: 0, 2: 2, 3: -1}

    def allowance(stream: int) -> int:
        asked.append(stream)
        return credit.pop(stream, 0)

    queue = queue_of((1, 0), (2, 0), (3, 0))
    for stream in (1, 2, 3):
        queue.push(stream, b"four", fin=True)
    assert queue.take(PLENTY, allowance) == [Chunk(2, b"fo", fin=False)]
    asked.clear()
    assert queue.take(PLENTY, allowance) == []
    assert asked == []
    credit.update({1: 10, 2: 10, 3: 10})
    queue.unpark([1, 2, 3, 99])
    assert queue.take(PLENTY, allowance) == [
        Chunk(1, b"four", fin=True),
        Chunk(2, b"ur", fin=True),
        Chunk(3, b"four", fin=True),
    ]


def test_an_end_needs_permission_for_the_stream_but_no_credit():
    queue = queue_of((1, 0))
    queue.push(1, b"", fin=True)
    assert queue.take(PLENTY, lambda _: -1) == []
    queue.unpark([1])
    assert queue.take(PLENTY, lambda _: 0) == [Chunk(1, b"", fin=True)]


def test_a_stream_pauses_above_its_high_mark_until_its_low_one():
    marks = Marks(stream_high=100, stream_low=40, connection_high=1000, connection_low=500)
    queue = queue_of((1, 0), (2, 0), marks=marks)
    queue.push(1, bytes(100), fin=False)
    assert queue.writable(1)
    queue.push(1, b"x", fin=False)
    assert not queue.writable(1)
    assert queue.writable(2)
    queue.take(60, plenty)
    assert queue.relieved() == []
    assert not queue.writable(1)
    queue.take(1, plenty)
    assert queue.relieved() == [1]
    assert queue.writable(1)
    assert queue.relieved() == []


def test_all_streams_pause_while_the_connection_is_full():
    marks = Marks(stream_high=80, stream_low=40, connection_high=100, connection_low=30)
    queue = queue_of((1, 0), (2, 0), (3, 0), marks=marks)
    queue.push(1, bytes(60), fin=False)
    queue.push(2, bytes(60), fin=False)
    assert not queue.writable(3)
    assert not queue.writable(2)
    queue.take(80, plenty)
    assert queue.relieved() == []
    queue.take(20, plenty)
    assert queue.relieved() == [2, 3]


def test_a_full_queue_that_ran_empty_takes_more_although_nobody_waited():
    marks = Marks(stream_high=500, connection_high=100, connection_low=50)
    queue = queue_of((1, 0), (2, 0), marks=marks)
    queue.push(1, bytes(120), fin=True)
    queue.take(PLENTY, plenty)
    assert queue.relieved() == []
    assert queue.writable(2)


def test_beyond_the_hard_bound_nothing_is_queued():
    queue = queue_of((1, 0), marks=Marks(hard=100))
    queue.push(1, bytes(60), fin=False)
    with pytest.raises(LocalError, match="101 bytes unsent"):
        queue.push(1, bytes(41), fin=True)
    assert queue.waiting_bytes == 60
    queue.push(1, bytes(40), fin=True)


def test_a_dropped_stream_takes_its_bytes_along():
    queue = queue_of((1, 0), (2, 0), marks=Marks(stream_high=10))
    queue.push(1, bytes(50), fin=False)
    queue.push(2, b"stays", fin=False)
    assert queue.drop(1) == 50
    assert queue.drop(1) == 0
    assert queue.waiting_bytes == 5
    assert queue.relieved() == []
    assert queue.writable(1)
    assert queue.take(PLENTY, plenty) == [Chunk(2, b"stays", fin=False)]


def test_a_priority_changes_while_bytes_wait_and_while_none_do():
    queue = queue_of((1, 3), (2, 3))
    queue.set_priority(2, 1)
    queue.set_priority(77, 0)
    for stream in (1, 2):
        queue.push(stream, b"x", fin=False)
    queue.set_priority(1, 0)
    assert [chunk.stream for chunk in queue.take(PLENTY, plenty)] == [1, 2]


def test_room_is_there_again_when_the_streams_that_filled_it_have_ended():
    queue = queue_of(
        (1, 0),
        (2, 0),
        marks=Marks(stream_high=50, stream_low=20, connection_high=200, connection_low=80),
    )
    queue.push(1, bytes(201), fin=True)
    queue.take(PLENTY, plenty)
    assert queue.relieved() == []
    assert queue.writable(2)


@settings(deadline=None)  # a busy machine is not a lost byte
@given(st.data())
def test_every_byte_comes_out_once_and_in_order(data):
    queue = SendQueue(Marks(stream_high=50, stream_low=20, connection_high=200, connection_low=80))
    written: dict[int, bytes] = {}
    taken: dict[int, bytes] = {}
    ended: set[int] = set()
    finished: set[int] = set()
    counter = 0
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["open", "push", "take", "priority", "park"]))
        if action == "open":
            queue.open(len(written), data.draw(st.integers(0, 2)))
            written[len(written)] = b""
        elif action == "push" and written:
            stream = data.draw(st.sampled_from(sorted(written)))
            size, fin = data.draw(st.integers(0, 90)), data.draw(st.booleans())
            part = bytes((counter + n) % 251 for n in range(size))
            if queue.push(stream, part, fin=fin):
                counter += size
                written[stream] += part
                if fin:
                    ended.add(stream)
        elif action == "priority" and written:
            queue.set_priority(
                data.draw(st.sampled_from(sorted(written))), data.draw(st.integers(0, 2))
            )
        else:
            limit = data.draw(st.integers(-1, 60)) if action == "park" else PLENTY
            for chunk in queue.take(data.draw(st.integers(0, 100)), lambda _: limit):  # noqa: B023
                taken[chunk.stream] = taken.get(chunk.stream, b"") + chunk.data
                assert chunk.stream not in finished
                if chunk.fin:
                    finished.add(chunk.stream)
            queue.unpark(written)
        queue.relieved()
    for chunk in queue.take(PLENTY, plenty):
        taken[chunk.stream] = taken.get(chunk.stream, b"") + chunk.data
        if chunk.fin:
            finished.add(chunk.stream)
    assert {s: d for s, d in taken.items() if d} == {s: d for s, d in written.items() if d}
    assert finished == ended
    assert queue.waiting_bytes == 0
    assert not queue.is_ready
    queue.relieved()
    assert all(queue.writable(stream) for stream in written)
