"""A listener's door: who must prove an address first, one network apart from another."""

import asyncio

from tests import aio
from tests.attack.attacker import is_retry
from tests.unit.transport.aioquic.test_crowds import Guest, Hall, hall

from moqvox.transport.aioquic import Limits

HERE, THERE = "198.51.100", "203.0.113"


async def asked_to_retry(it: Hall, host: str, port: int = 1000) -> bool:
    """Let a client begin from an address; whether the answer is a Retry, and nothing else."""
    guest = Guest(it, (host, port))
    before, _ = it.counted
    await guest.say()
    answers = it.endpoint.sent.pop(guest.address)
    retries = [is_retry(data) for data in answers]
    assert all(retries) or not any(retries)
    assert it.counted[0] == before + (not retries[0])
    return retries[0]


def test_one_networks_next_client_proves_its_address_and_anothers_does_not():
    async def main():
        async with hall(Limits(max_unproven_per_prefix=3)) as it:
            here = [await asked_to_retry(it, f"{HERE}.{n}") for n in range(1, 6)]
            assert here == [False] * 3 + [True] * 2
            assert not await asked_to_retry(it, f"{THERE}.1")

    aio.run(main())


def test_a_network_whose_handshakes_came_too_fast_proves_its_addresses_and_another_does_not():
    async def main():
        limits = Limits(handshakes_per_prefix=0.1, handshake_burst_per_prefix=2.0)
        async with hall(limits) as it:
            for number in range(1, 3):
                guest = Guest(it, (f"{HERE}.{number}", 1000))
                await guest.say()
                await guest.complete()
            assert it.counted == (0, 0)
            assert await asked_to_retry(it, f"{HERE}.3")
            assert not await asked_to_retry(it, f"{THERE}.1")

    aio.run(main())


def test_whoever_comes_after_too_many_without_proof_proves_an_address_until_some_time_has_passed():
    async def main():
        limits = Limits(unproven_per_second=2.0, unproven_burst=3.0)
        async with hall(limits) as it:
            asked = [await asked_to_retry(it, f"198.51.{n}.1") for n in range(100, 105)]
            assert asked == [False] * 3 + [True] * 2
            await asyncio.sleep(0.5)
            asked = [await asked_to_retry(it, f"198.51.{n}.1") for n in range(105, 107)]
            assert asked == [False, True]

    aio.run(main())
