"""How often a silent path is asked while somebody waits.

RFC 9002 doubles the pause between two probes each time (section 6.2.1). In bursts of loss that
makes seconds of silence out of a few hundred milliseconds, as the path is long back before it is
asked again. One packet in a tenth of a second is no load to any path that a call could use.
"""

import math
from typing import Final

__all__ = ["most_doublings"]

LONGEST_PAUSE: Final = 0.1
HURRIED_FOR: Final = 10.0
"""Seconds between two probes, at most, while somebody waits for live bytes; and for how long."""

LONGEST_FIRST_PAUSE: Final = 0.4
FIRST_HURRIED_FOR: Final = 3.0
"""The same while a client's handshake is not confirmed: whoever dials waits for that.

The round trip is not known yet, and the server may have more to do than it can, so both are less
of a hurry: nine first packets in three seconds, where doubling makes it five.
"""


def most_doublings(period: float, silence: float, *, is_confirmed: bool) -> float:
    """Return how often the pause between probes may double.

    Args:
        period: seconds of a pause that is not doubled.
        silence: seconds since the first probe that nothing has answered.
        is_confirmed: whether the handshake is.
    """
    longest, most = (
        (LONGEST_PAUSE, HURRIED_FOR) if is_confirmed else (LONGEST_FIRST_PAUSE, FIRST_HURRIED_FOR)
    )
    if silence >= most:
        return math.inf
    return max(0, math.floor(math.log2(longest / period)))
