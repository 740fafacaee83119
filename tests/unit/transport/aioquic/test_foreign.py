"""Copies to a receiver that isn't ours, under loss: our engine speaks to plain aioquic.

The clock and the losses are seeded and virtual, so that each figure is exact.
"""

import pytest
from tests.unit.transport.aioquic.compared import PlainEnd, PlainTalk
from tests.unit.transport.aioquic.speech import SEEDS, Talk, frame, lossy
from tests.unit.transport.aioquic.test_redundancy import ON, median_bytes, median_p99


class ForeignTalk(Talk):
    """Speech from ours to plain aioquic."""

    def _end(self, settings, limits, **options):
        if settings.is_client:
            return super()._end(settings, limits, **options)
        return PlainEnd(settings, options.get("original_destination_connection_id"))


def is_whole(talk: Talk) -> bool:
    """Whether all arrived as it was said, in its order."""
    return talk.bytes_heard == b"".join(map(frame, range(len(talk.spoken_at))))


def test_a_foreign_receiver_hears_each_byte_once_and_hardly_a_loss():
    talk = lossy(3, 0.1, redundancy=ON, frames=100, kind=ForeignTalk)
    assert is_whole(talk)
    assert talk.client.redundancy.copied_bytes > len(talk.bytes_heard)
    assert talk.lateness_p99() <= 0.045


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.05, 0.1])
def test_the_median_lateness_at_a_foreign_receiver_is_a_fraction_of_what_plain_recovery_makes(loss):
    plain = [lossy(n, loss, redundancy=0.0, kind=PlainTalk) for n in range(SEEDS)]
    copied = [lossy(n, loss, redundancy=ON, kind=ForeignTalk) for n in range(SEEDS)]
    assert all(map(is_whole, copied))
    assert median_p99(copied) <= 0.045 < median_p99(plain) / 3
    assert median_bytes(copied) <= 2.2 * median_bytes(plain)
