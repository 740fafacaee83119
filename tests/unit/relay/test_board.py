"""The counters that workers share: whole, each from its own slot, whoever dies while writing."""

import pytest

from moqvox.transport.quic import steering
from moqvox_relay.board import HEAD, SLOT_BYTES, Board

pytestmark = pytest.mark.skipif(not steering.can_steer(), reason="Linux only")


@pytest.fixture
def board():
    made = Board.create(3)
    yield made
    made.close()


def test_each_slot_says_what_was_written_to_it_last(board):
    board.write(0, {"a": 1.0})
    board.write(1, {"a": 2.0, "b": 0.5})
    board.write(0, {"c": 3.0})
    assert [board.read(slot) for slot in range(3)] == [{"c": 3.0}, {"a": 2.0, "b": 0.5}, {}]


def test_another_process_reads_it_by_its_descriptor(board):
    import os

    board.write(2, {"a": 1.0})
    other = Board(os.dup(board.fd), 3)
    assert other.read(2) == {"a": 1.0}
    other.close()


def test_a_slot_that_its_worker_died_over_is_empty_until_the_next_write(board):
    board.write(1, {"a": 1.0})
    version, size = HEAD.unpack_from(board._memory, SLOT_BYTES)
    HEAD.pack_into(board._memory, SLOT_BYTES, version | 1, size)
    assert board.read(1) == {}
    board.write(1, {"a": 2.0})
    assert board.read(1) == {"a": 2.0}
    assert HEAD.unpack_from(board._memory, SLOT_BYTES)[0] % 2 == 0


def test_a_torn_length_is_no_counter(board):
    HEAD.pack_into(board._memory, 0, 2, SLOT_BYTES)
    assert board.read(0) == {}


def test_more_than_a_slot_holds_is_refused(board):
    board.write(0, {"kept": 1.0})
    with pytest.raises(ValueError, match="do not fit"):
        board.write(0, {f"row {number}": 1.0 for number in range(2000)})
    assert board.read(0) == {"kept": 1.0}
