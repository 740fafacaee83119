"""One attack on one victim, with an honest caller beside it."""

import time
from dataclasses import dataclass

from tests.attack.attacker import Attacker
from tests.attack.processes import Caller, Shooter, Victim
from tests.attack.rows import Shot

CALM_S = 1.0
MIB = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What an attack cost both; times in seconds.

    Attributes:
        cpu_s: of the victim's, without what the honest caller's echoes cost it in calm.
        turn_s: CPU time of the longest turn of the victim's loop, for which what arrives waits.
    """

    row: str
    victim: str
    shot: Shot
    grown_bytes: int
    cpu_s: float
    duration_s: float
    calm_p99_s: float
    attack_p99_s: float
    calm_turn_s: float
    turn_s: float
    echoes: int
    survives: bool
    newcomer_s: float
    complaints: tuple[str, ...]

    @property
    def bytes_per_byte(self) -> float:
        """Bytes of memory that the victim needed at most for each byte of the attacker's."""
        return self.grown_bytes / max(1, self.shot.sent_bytes)

    @property
    def cpu_ns_per_byte(self) -> float:
        return self.cpu_s * 1e9 / max(1, self.shot.sent_bytes)

    @property
    def sent_per_second(self) -> float:
        """Bytes a second of the attacker's, over the time in which the caller is measured."""
        return self.shot.sent_bytes / self.duration_s

    @property
    def answered_per_byte(self) -> float:
        return self.shot.received_bytes / max(1, self.shot.sent_bytes)


def p99(latencies: list[float]) -> float:
    ordered = sorted(latencies)
    return ordered[int(0.99 * (len(ordered) - 1))] if ordered else float("inf")


def newcomer(victim: Victim) -> float:
    """Seconds until a new honest client is connected; infinite if it never is."""
    start = time.monotonic()
    try:
        with Attacker(victim.address).connect(timeout=3.0) as client:
            return time.monotonic() - start if client.is_ready else float("inf")
    except TimeoutError:
        return float("inf")


def measure(victim: Victim, row: str, scale: float = 1.0, calm_s: float = CALM_S) -> Outcome:
    """Attack; the victim's bytes are its peak during the attack over what it had before.

    The attacker is there before, as idle as a process can be, so that calm and attack differ in
    nothing else.
    """
    with Shooter(victim, row, scale) as shooter, Caller(victim) as caller:
        shooter.wait_ready()
        victim.wait_idle(2.0)
        victim.forget_peak()
        victim.longest_turn()
        calm_from, at_first = time.monotonic(), victim.usage()
        time.sleep(calm_s)
        before, start = victim.usage(), time.monotonic()
        calm_turn = victim.longest_turn()
        shot = shooter.shoot()
        victim.wait_idle()
        after, stop = victim.usage(), time.monotonic()
        turn = victim.longest_turn()
        joined = newcomer(victim)
        time.sleep(0.1)
        calm, attacked = caller.between(calm_from, start), caller.between(start, stop)
        survives = victim.is_running and caller.is_running
    honest = (before.cpu_s - at_first.cpu_s) / (start - calm_from) * (stop - start)
    return Outcome(
        row=row,
        victim=victim.what,
        shot=shot,
        grown_bytes=max(0, after.peak_bytes - before.rss_bytes),
        cpu_s=max(0.0, after.cpu_s - before.cpu_s - honest),
        duration_s=stop - start,
        calm_p99_s=p99(calm),
        attack_p99_s=p99(attacked),
        calm_turn_s=calm_turn,
        turn_s=turn,
        echoes=len(attacked),
        survives=survives,
        newcomer_s=joined,
        complaints=tuple(victim.complaints()),
    )
