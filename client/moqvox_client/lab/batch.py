"""Many runs, several at a time."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

import moqvox_certs
from moqvox_client.errors import Failed
from moqvox_client.lab.network import Network
from moqvox_client.lab.scenario import Scenario
from moqvox_client.lab.systems import System
from moqvox_client.lab.trial import Identity, run_trial
from moqvox_client.lab.verdict import Run, Speech
from moqvox_client.speech.recordings import TRANSCRIPTS, recording

__all__ = ["Planned", "make"]


class Planned(msgspec.Struct, frozen=True):
    """A run to be made."""

    system: System
    scenario: Scenario
    seed: int

    def __str__(self) -> str:
        return f"{self.scenario.name}, {self.system.name}, seed {self.seed}"


class _Room:
    """Room for so much at a time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._left = asyncio.Event()

    async def enter(self, weight: int) -> None:
        """Wait for room; what is larger than all of it waits until it is alone."""
        while self._taken and self._taken + weight > self._size:
            self._left.clear()
            await self._left.wait()
        self._taken += weight

    def leave(self, weight: int) -> None:
        self._taken -= weight
        self._left.set()

    @contextlib.asynccontextmanager
    async def within(self, weight: int) -> AsyncIterator[None]:
        """Be there for a while."""
        await self.enter(weight)
        try:
            yield
        finally:
            self.leave(weight)


async def make(
    planned: Sequence[Planned],
    jobs: int,
    network: Network,
    *,
    loading: int = 0,
    on_run: Callable[[Run], None],
    on_failure: Callable[[str], None],
) -> list[Run]:
    """Make runs, in order as far as `jobs` at a time have one; those that can't be made are named.

    A system of `weight` 2 takes the room of two. So many as `loading` more are meanwhile being
    set up for the next calls, or taken down and judged, with less priority than the calls.
    """
    speech, identity = _speech(), _identity()
    found: dict[int, Run] = {}
    room, calls = _Room(jobs + loading), _Room(jobs)

    async def one(number: int, plan: Planned) -> None:
        weight = plan.system.weight
        try:
            run = await run_trial(
                plan.system,
                plan.scenario,
                plan.seed,
                network,
                speech,
                identity,
                calls.within(weight),
            )
        except (Failed, OSError) as exc:  # one run's trouble; there may be hundreds of others
            on_failure(f"{plan}: {exc}")
        else:
            found[number] = run
            on_run(run)
        finally:
            room.leave(weight)

    async with asyncio.TaskGroup() as tasks:
        for number, plan in enumerate(planned):
            await room.enter(plan.system.weight)
            tasks.create_task(one(number, plan))
    return [found[number] for number in sorted(found)]


def _speech() -> Speech:
    """Take the recordings that come with the package, in two orders."""
    names = list(TRANSCRIPTS)
    clips = [recording(name).opus for name in names]
    forth = tuple(packet for clip in clips for packet in clip)
    back = tuple(packet for clip in reversed(clips) for packet in clip)
    return Speech(prompt=forth, answer=back)


def _identity() -> Identity:
    hosts = ["localhost", "127.0.0.1", "10.77.0.1"]
    now = datetime.datetime.now(datetime.UTC)
    authority = moqvox_certs.create_authority(now)
    leaf = moqvox_certs.issue(authority, hosts, now)
    return Identity(leaf.cert_pem, leaf.key_pem, authority.cert_pem)
