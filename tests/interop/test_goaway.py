"""What moq-rs does when our server asks it to move, or our relay below it says that it goes."""

import asyncio
import contextlib
import datetime
import json

import pytest
from interop.environment import ROOT, built, python_of
from tests.loopback.relays import settings, url

from moqvox.connect import connect
from moqvox.frame import Frame, TrackInfo
from moqvox.listen import listen
from moqvox.model import broadcast
from moqvox.model.origin import Origin
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox_certs import generate
from moqvox_relay.config import Upstream
from moqvox_relay.relay import Relay

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


@contextlib.asynccontextmanager
async def moqrs(module, *arguments):
    """Run a program for moq-rs until the block is left."""
    program = await asyncio.create_subprocess_exec(
        *(str(python_of("moq-rs")), "-m", f"interop.peers.moqrs.{module}", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.wait()


@contextlib.asynccontextmanager
async def edge_below(address):
    """Run a relay of ours below a moq-rs relay, and give what makes it drain."""
    upstream = Upstream(f"moqt://{address}/", insecure=True)
    relay = Relay(settings(drain=20.0, upstream=upstream))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(relay.run())
        await relay.started.wait()
        await until(relay.line.up.is_set)
        try:
            yield relay, serving
        finally:
            serving.cancel()


async def hear(program, heard):
    async for line in program.stdout:
        heard.append(int(line))


@pytest.mark.timeout(60)
def test_moqrs_relay_is_told_that_an_edge_goes_and_keeps_its_session_until_it_has():
    if built("moq-rs") is None:
        pytest.skip("no environment of moq-rs; python -m interop.environment moq-rs makes it")

    async def main():
        origin, heard, late = Origin(), [], []
        producer = broadcast.Producer()
        audio = producer.create_track("audio", TrackInfo(priority=80))
        origin.publish("alice", producer.consume())
        publish = {"publish": origin, "verify": Verify.nothing()}

        async def say():
            for number in range(1000):
                group = audio.append_group()
                group.write(Frame(b"%d" % number, 20_000 * number))
                group.finish()
                await asyncio.sleep(0.02)

        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            root = await enter(moqrs("server", "--bind", "127.0.0.1:0", "--tls-generate", "x"))
            address = json.loads(await root.stdout.readline())["address"]
            second, _ = await enter(edge_below(address))
            first, serving = await enter(edge_below(address))
            tasks = await enter(asyncio.TaskGroup())
            leaver = await enter(connect(url(first), **publish))
            saying = tasks.create_task(say())
            reader = await enter(moqrs("moved", f"https://{address}/"))
            tasks.create_task(hear(reader, heard))
            await until(lambda: heard)
            serving.cancel()
            await leaver.goaway.wait()
            before = heard[-1]
            await until(lambda: heard[-1] > before + 10)
            lasting = first.line.up.is_set()
            await enter(connect(url(second), **publish))
            before = heard[-1]
            await until(lambda: heard[-1] > before + 10)
            leaver.close()
            await until(serving.done)
            newcomer = await enter(moqrs("moved", f"https://{address}/"))
            tasks.create_task(hear(newcomer, late))
            await until(lambda: len(late) > 10)
            await until(lambda: heard[-1] > late[10])
            for program in (reader, newcomer):
                program.kill()
            saying.cancel()
        return lasting, heard

    lasting, heard = asyncio.run(main())
    assert lasting
    assert sorted(heard) == list(range(heard[0], max(heard) + 1))
