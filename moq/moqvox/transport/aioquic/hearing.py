"""Links whose handshake is just through: what comes first is heard before it is answered."""

from typing import TYPE_CHECKING, Final

from moqvox.transport.aioquic.resting import Resting

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["HEARING_SECONDS", "HEARING_TURNS", "Hearing"]

HEARING_SECONDS: Final = 0.01
"""So long after its handshake a peer's first words may be on their way to the application."""

PATIENT_SECONDS: Final = 0.005
"""So long a server listens whose client has got all it needs for them."""

HEARING_TURNS: Final = 8
"""Turns of the loop that they take from the socket to who reads them, a few of tasks that begin."""


class _Heard:
    """A link that is listened to: until when, and whether its packets wait already."""

    __slots__ = ("is_patient", "may_pass", "until", "waits")

    def __init__(self, until: float, *, is_patient: bool, may_pass: bool) -> None:
        self.until = until
        self.is_patient = is_patient
        self.may_pass = may_pass
        self.waits = False


class Hearing:
    """Lets packets to a peer wait a moment while its first words go through.

    They come with the last packet of its handshake, or right behind it. What that calls for
    (the handshake's end, a ticket, connection IDs) and the answers of a session that begins
    take longer to build than the words to be read, and nobody waits for them as for those. No
    time passes in these turns when there is nothing to do; who is patient takes the time.

    A client listens as well: the end of its handshake leaves at once, and what it says to the
    subscriptions that came with the server's half in one packet instead of several.
    """

    __slots__ = ("_due_at", "_heard")

    def __init__(self) -> None:
        self._heard: dict[Link, _Heard] = {}
        self._due_at = Resting(HEARING_TURNS)

    def add(
        self, link: "Link", now: float, *, patient: bool = False, once_said: bool = False
    ) -> float:
        """Listen to a link from now on; tells until when, at which `hold_back` has to be called.

        Args:
            link: whose packets wait.
            now: the loop's time.
            patient: until the end of that time, and not for a few turns.
            once_said: begin after what the link says next.
        """
        until = now + (PATIENT_SECONDS if patient else HEARING_SECONDS)
        self._heard[link] = _Heard(until, is_patient=patient, may_pass=once_said)
        return until

    def discard(self, link: "Link") -> None:
        """Let go of a link that is over."""
        self._heard.pop(link, None)
        self._due_at.discard(link)

    def hold_back(self, touched: "dict[Link, None]", now: float) -> None:
        """Take those out of `touched` who are listened to, and put back who was for long enough.

        Who is not patient is due a few turns after it was touched last.
        """
        for link, heard in list(self._heard.items()):
            if now >= heard.until:
                self.discard(link)
                if heard.waits:
                    touched[link] = None
            elif link not in touched:
                continue
            elif heard.may_pass:
                heard.may_pass = False
            else:
                del touched[link]
                heard.waits = True
                self._due_at.discard(link)
                if not heard.is_patient:
                    self._due_at.add(link)

    def take_due(self) -> "list[Link]":
        """Note that a turn has passed, and take the links that have waited long enough.

        Each waits once.
        """
        due = self._due_at.take_due()
        for link in due:
            self.discard(link)
        return due

    @property
    def holds_any(self) -> bool:
        """Whether a link waits for a turn, so that another one is needed."""
        return bool(self._due_at)

    def __len__(self) -> int:
        return len(self._heard)
