"""What waits for the application, each kind bounded."""

import pytest

from moqvox.transport.inbox import DATAGRAM_BYTES, Inbox
from moqvox.transport.interface import DatagramReceived

MAX_DATAGRAMS = 4
ROOM_BYTES = MAX_DATAGRAMS * DATAGRAM_BYTES


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        pytest.param([1] * 9, [1] * MAX_DATAGRAMS, id="many"),
        pytest.param([ROOM_BYTES, 1], [ROOM_BYTES], id="one-large"),
        pytest.param([ROOM_BYTES + 1], [], id="too-large"),
        pytest.param([ROOM_BYTES - 1, 2, 1], [ROOM_BYTES - 1, 1], id="what-fits"),
    ],
)
def test_datagrams_that_nobody_reads_are_kept_by_number_and_by_size(sizes, kept):
    inbox = Inbox(max_datagrams=MAX_DATAGRAMS, max_path_changes=0)
    for _ in range(2):  # what was taken leaves its room
        for size in sizes:
            inbox.datagram(bytes(size))
        assert [len(event.data) for event in inbox.take()] == kept
        assert inbox.take() == []


def test_datagrams_are_read_in_order():
    inbox = Inbox(max_datagrams=MAX_DATAGRAMS, max_path_changes=0)
    for data in (b"a", b"b"):
        inbox.datagram(data)
    assert inbox.take() == [DatagramReceived(b"a"), DatagramReceived(b"b")]
