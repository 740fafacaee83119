"""A caller that was here before speaks before it is asked to.

An agent subscribes to the audio of a caller connected directly with a number that is the same in
every session. A caller whose wallet says that this server did so needs not wait for that: its
first frame leaves in its first flight. See docs/voice-protocol.md, "Speaking first".
"""

import logging
from collections.abc import Mapping
from typing import Final

from moqvox.connect import Wallet
from moqvox.driver import Driver
from moqvox.driver.asking import Agreed
from moqvox.transport.interface import Kind
from moqvox.url import Address
from moqvox.voice.far_leg import wishes_for
from moqvox.voice.leg import AUDIO_INFO, AUDIO_TRACK
from moqvox.voice.names import CALLER

__all__ = ["AGREED_TRACKS", "FIRST_AUDIO", "agreed_with", "speak_first"]

log = logging.getLogger("moqvox.voice")

FIRST_AUDIO: Final = 0x2000_766F
"""Number of the subscription to `audio` of `caller`."""

AGREED_TRACKS: Final[Mapping[str, Agreed]] = {AUDIO_TRACK: Agreed(FIRST_AUDIO, AUDIO_INFO)}

SPEAK_FIRST: Final = "speak-first"
"""Of a server that subscribes with that number."""


def agreed_with(driver: Driver) -> Mapping[str, Agreed]:
    """Give the tracks of a caller connected directly that it may send unasked."""
    return AGREED_TRACKS if _may_be_first(driver) else {}


def speak_first(driver: Driver, wallet: Wallet, address: Address, *, early: bool = True) -> None:
    """Begin to speak, if the server is known to listen; and remember whether it does.

    Only on raw QUIC, where the first flight may carry it. The server has to prove itself each
    time: one that does not subscribe so any more is waited for the next time.

    `early`: the words may leave before the server has answered, and so be repeated by whoever
    records them. Voice says yes: the first frame is there a round trip sooner, a server of ours
    takes it once, and what comes twice elsewhere has no call's name, as that never leaves early
    (`Session.wait_proven`).
    """
    if not _may_be_first(driver):
        return
    server = f"voice {address.host} {address.port}"
    driver.on_agreed = lambda number: (
        wallet.note(server, SPEAK_FIRST) if number == FIRST_AUDIO else None
    )
    if wallet.take_note(server, SPEAK_FIRST):
        log.debug("%s is known: speaking first", server)
        wishes = wishes_for(AUDIO_TRACK)
        driver.anticipate(FIRST_AUDIO, CALLER, AUDIO_TRACK, wishes, early=early)


def _may_be_first(driver: Driver) -> bool:
    """Whether the first flight of a connection may carry groups."""
    return driver.connection.kind not in (Kind.WEBTRANSPORT, Kind.WEBSOCKET)
