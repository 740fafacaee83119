"""What moq-rs does when our server asks it to move."""

import asyncio
import datetime

import pytest
from interop.environment import ROOT, built, python_of

from moqvox.frame import Frame, TrackInfo
from moqvox.listen import listen
from moqvox.model import broadcast
from moqvox.model.origin import Origin
from moqvox.transport.credentials import ServerCertificate
from moqvox_certs import generate

pytestmark = [pytest.mark.interop, pytest.mark.net, pytest.mark.slow]


async def serve(server, name):
    """Publish a frame twice a second, and let everybody in."""
    origin = Origin()
    alice = broadcast.Producer()
    audio = alice.create_track("audio", TrackInfo(priority=80))
    origin.publish("alice", alice.consume())

    async def admit():
        async for request in server:
            request.accept(publish=origin, consume=Origin())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(admit())
        for number in range(1000):
            group = audio.append_group()
            group.write(Frame(f"{name} {number}".encode(), 100_000 * number))
            group.finish()
            await asyncio.sleep(0.2)


async def until(condition):
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110  # another process, which can't set an event
            await asyncio.sleep(0.02)


@pytest.mark.timeout(60)
def test_moqrs_connects_to_where_goaway_points_and_keeps_the_old_session_meanwhile():
    if built("moq-rs") is None:
        pytest.skip("no environment of moq-rs; python -m interop.environment moq-rs makes it")

    async def main():
        made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
        tls = ServerCertificate(made.cert_pem, made.key_pem)
        heard = []
        async with (
            listen("127.0.0.1:0", tls=tls) as old,
            listen("127.0.0.1:0", tls=tls) as new,
            asyncio.TaskGroup() as tasks,
        ):
            serving = [tasks.create_task(serve(old, "old")), tasks.create_task(serve(new, "new"))]
            client = await asyncio.create_subprocess_exec(
                *(str(python_of("moq-rs")), "-m", "interop.peers.moqrs.moved"),
                f"https://localhost:{old.addresses[0][1]}/",
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )

            async def hear():
                async for line in client.stdout:
                    heard.append(line.decode().split()[0])  # noqa: PERF401  # read meanwhile

            tasks.create_task(hear())
            await until(lambda: heard)
            old.goaway(f"https://localhost:{new.addresses[0][1]}/")
            await until(lambda: new.sessions)
            since = len(heard)
            await until(lambda: len(heard) > since + 3)
            open_still = old.sessions
            client.kill()
            await client.wait()
            for task in serving:
                task.cancel()
        return open_still, set(heard)

    # Subscriptions that run stay where they are; what is asked for later goes to the new one.
    assert asyncio.run(main()) == (1, {"old"})
