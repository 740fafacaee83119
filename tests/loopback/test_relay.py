"""Whole relays over real sockets: alone, as edge and origin, lost and found, drained."""

import asyncio
import json
import logging
import random

import pytest
from tests import aio
from tests.loopback.relays import running, settings, trust, until, url
from tests.unit.driver.sides import published, read_track, subscribe, write

from moqvox.connect import connect
from moqvox.errors import LocalError, SessionCode
from moqvox.model.origin import Origin
from moqvox.wire.version import LITE_ALPNS
from moqvox_relay.auth import Claims, new_key, sign
from moqvox_relay.config import Upstream
from moqvox_relay.relay import Relay
from moqvox_relay.upstream import Line

pytestmark = pytest.mark.net


def up_to(relay, **options):
    address = url(relay)
    return Upstream(address, fingerprints=(relay.where.fingerprint,), **options)


@pytest.mark.parametrize("scheme", ["moqt", "moql", "https"])
@pytest.mark.parametrize("version", LITE_ALPNS)
def test_track_goes_through_a_relay(version, scheme):
    async def main():
        async with running(versions=(version,)) as relay:
            near, far = Origin(), Origin()
            where = {"verify": trust(relay), "versions": (version,)}
            async with (
                connect(url(relay, "/", scheme), publish=near, **where) as sender,
                connect(url(relay, "/", scheme), consume=far, **where) as receiver,
            ):
                _, audio = published(near)
                reader = await subscribe(far)
                write(audio, b"one", b"two")
                audio.finish()
                got = await read_track(reader)
                return got.payloads, sender.session.version, receiver.connection.kind.value

    payloads, spoken, kind = aio.run(main(), sockets=True)
    assert payloads == [b"one", b"two"]
    assert spoken == version
    assert kind == ("webtransport" if scheme == "https" else "quic")


def test_edge_carries_announcements_and_tracks_both_ways():
    async def main():
        async with running() as origin, running(upstream=up_to(origin)) as edge:
            sides = {}
            async with asyncio.TaskGroup() as tasks:
                leave = asyncio.Event()

                async def join(name, relay):
                    local, remote = Origin(), Origin()
                    async with connect(
                        url(relay), publish=local, consume=remote, verify=trust(relay)
                    ):
                        sides[name] = local, remote
                        await leave.wait()

                tasks.create_task(join("near", edge))
                tasks.create_task(join("far", origin))
                await until(lambda: len(sides) == 2)
                heard = []
                for sender, receiver in (("near", "far"), ("far", "near")):
                    _, audio = published(sides[sender][0], sender)
                    write(audio, sender.encode())
                    audio.finish()
                    got = await read_track(await subscribe(sides[receiver][1], sender))
                    heard += got.payloads
                leave.set()
            return heard

    assert aio.run(main(), sockets=True) == [b"near", b"far"]


def test_edge_dials_again_until_its_upstream_is_back(monkeypatch):
    monkeypatch.setattr("moqvox_relay.upstream.FIRST_WAIT", 0.02)

    async def main():
        async with running() as first:
            port = first.where.addresses[0][1]
            upstream = Upstream(url(first), insecure=True)
            edge = Relay(settings(upstream=upstream))
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(edge.run())
                await edge.started.wait()
                await until(edge.line.up.is_set)
                published(first.origin, "before")
                await edge.origin.wait("before")
                first_gone = first
                await _stop(first_gone)
                await until(lambda: not edge.line.up.is_set())
                lost = edge.origin.get("before")
                async with running(bind=f"127.0.0.1:{port}") as second:
                    published(second.origin, "after")
                    async with asyncio.timeout(10):
                        await edge.origin.wait("after")
                serving.cancel()
            return lost

    assert aio.run(main(), sockets=True) is None


async def _stop(relay):
    """Stop a relay as SIGTERM does, and wait until its port is free."""
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "cr_frame", None) is None:
            continue
        if task.get_coro().__qualname__ == "Relay.run" and _owner(task) is relay:
            task.cancel()
            await asyncio.wait([task])


def _owner(task):
    return task.get_coro().cr_frame.f_locals.get("self")


def test_wait_between_dials_doubles_although_the_upstream_answers(monkeypatch):
    """An upstream that lets us in and throws us out at once is no success."""

    async def main():
        line = Line("upstream", None, jitter=random.Random(1))
        waits = []

        async def refused():
            line.up.set()

        async def sleep(seconds):
            waits.append(seconds)
            if len(waits) == 9:
                raise asyncio.CancelledError

        monkeypatch.setattr(line, "_hold", refused)
        monkeypatch.setattr("moqvox_relay.upstream.asyncio.sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            await line.run()
        return waits, line.up.is_set()

    waits, up = aio.run(main(), sockets=True)
    assert waits[0] < 0.26
    assert waits[5] > 4 * waits[1]
    assert max(waits) <= 10
    assert not up


def test_bug_in_the_upstream_session_does_not_end_the_relay(monkeypatch, caplog):
    async def main():
        async with running() as origin:
            calls = []

            async def broken(self):
                calls.append(self)
                raise KeyError("bug")

            monkeypatch.setattr("moqvox_relay.upstream.FIRST_WAIT", 0.01)
            monkeypatch.setattr(Line, "_hold", broken)
            async with running(upstream=up_to(origin)):
                await until(lambda: len(calls) > 2)

    with caplog.at_level(logging.CRITICAL):
        aio.run(main(), sockets=True)


def test_two_hundred_readers_at_an_edge_cost_the_origin_one_subscription():
    async def main():
        async with running() as origin, running(upstream=up_to(origin)) as edge:
            _, audio = published(origin.origin)
            found = await edge.origin.wait("alice")
            async with asyncio.TaskGroup() as tasks:
                from tests.unit.driver.sides import ALL

                waiting = [tasks.create_task(found.subscribe("audio", ALL)) for _ in range(200)]
            readers = len(audio._feed.readers)
            write(audio, b"x")
            frames = [await (await t.result().next_group()).read() for t in waiting]
            return readers, len({id(frame) for frame in frames})

    assert aio.run(main(), sockets=True) == (1, 1)


def test_what_all_sessions_keep_counts_against_one_budget():
    """Four publishers send 400 kB, twice what may be kept; all of it has come by."""

    async def main():
        async with running(cache_total=200_000) as relay, asyncio.TaskGroup() as tasks:
            leave = asyncio.Event()
            for number in range(4):
                tasks.create_task(_publish(relay, number, leave))
            tracks = [await subscribe(relay.origin, f"b{number}") for number in range(4)]
            await asyncio.wait([tasks.create_task(_last_group(track)) for track in tracks])
            kept = relay.origin.budget.size_bytes
            leave.set()
            return kept

    async def _publish(relay, number, leave):
        local = Origin()
        async with connect(url(relay), publish=local, verify=trust(relay)):
            _, audio = published(local, f"b{number}")
            for _ in range(10):
                write(audio, bytes(10_000))
            await leave.wait()

    async def _last_group(track):
        async for group in track:
            if group.sequence == 9:
                assert len([frame async for frame in group]) == 1
                return

    assert 150_000 < aio.run(main(), sockets=True) <= 200_000


def test_session_past_the_bound_is_refused():
    async def main():
        async with running(max_sessions=1) as relay:
            async with connect(url(relay), verify=trust(relay)) as first:
                await until(lambda: relay.served == 1)
                async with connect(url(relay), verify=trust(relay)) as second:
                    closed = await second.wait_closed()
                alive = not first.closed
            await until(lambda: relay._peers == 0)
            async with connect(url(relay), verify=trust(relay)):
                await until(lambda: relay.served == 2)
            return closed.code, closed.reason, alive

    assert aio.run(main(), sockets=True) == (SessionCode.EXCESSIVE_LOAD, "too many sessions", True)


@pytest.mark.parametrize("scheme", ["moqt", "https"])
def test_token_travels_in_the_url_and_its_refusal_comes_back(tmp_path, scheme):
    file = tmp_path / "key.jwk"
    file.write_text(json.dumps(new_key(bytes(32), kid="k")))

    async def main():
        async with running(public=None, auth_key=file) as relay:
            where = {"verify": trust(relay)}
            async with connect(url(relay, "/room", scheme), **where) as stranger:
                closed = await stranger.wait_closed()
            token = sign(Claims(root="room", put="alice"), file)
            local = Origin()
            published(local, "alice")
            async with connect(
                url(relay, "/room", scheme), publish=local, token=token, **where
            ) as known:
                await relay.origin.wait("room/alice")
                return closed.code, closed.reason, known.closed

    code, reason, refused = aio.run(main(), sockets=True)
    assert (code, reason) == (SessionCode.UNAUTHORIZED, "a token is needed here")
    assert not refused


def test_old_version_on_raw_quic_says_that_it_can_carry_no_path():
    async def main():
        async with running() as relay:
            with pytest.raises(LocalError, match="can't tell the server a path or token"):
                async with connect(
                    url(relay, "/room"), verify=trust(relay), versions=("moq-lite-04",)
                ):
                    pass

    aio.run(main(), sockets=True)


def test_draining_relay_asks_its_clients_to_move_and_then_closes():
    async def main():
        relay = Relay(settings(drain=0.3))
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(relay.run())
            await relay.started.wait()
            async with connect(url(relay), verify=trust(relay)) as client:
                await until(lambda: relay.served == 1)
                serving.cancel()
                began = loop.time()
                async with asyncio.timeout(2):
                    await client.goaway.wait()
                    alive = not client.closed
                    await client.wait_closed()
                return alive, loop.time() - began

    alive, took = aio.run(main(), sockets=True)
    assert alive
    assert 0.25 < took < 1.5


def test_draining_relay_leaves_as_soon_as_its_clients_have():
    async def main():
        relay = Relay(settings(drain=20.0))
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(relay.run())
            await relay.started.wait()
            async with connect(url(relay), verify=trust(relay)) as client:
                await until(lambda: relay.served == 1)
                serving.cancel()
                await client.goaway.wait()

    aio.run(main(), sockets=True)


def test_port_that_is_taken_is_one_clear_error():
    async def main():
        async with running() as relay:
            port = relay.where.addresses[0][1]
            with pytest.raises(LocalError, match=str(port)):
                await Relay(settings(bind=f"127.0.0.1:{port}")).run()

    aio.run(main(), sockets=True)
