"""A relay's peers in memory: let in or not, shown what they may see, put out in time."""

import asyncio
import contextlib
import json

import pytest
from tests.aio import run
from tests.unit.driver.sides import driver_on, gone, published, subscribe, write

from moqvox.errors import NotFound, SessionCode
from moqvox.listen import Incoming
from moqvox.model.origin import Origin
from moqvox.transport.memory import pair
from moqvox_relay.auth import Authority, Claims, new_key, sign
from moqvox_relay.connection import Peer

NOW = 1_800_000_000.0


class Gate:
    """A relay's doorman over connections in memory."""

    def __init__(self, tasks, authority):
        self.origin = Origin()
        self.tasks = tasks
        self.authority = authority
        self.drivers = []
        self.left = []

    def clock(self):
        return NOW + asyncio.get_running_loop().time()

    def join(self, path="", version="moq-lite-06"):
        client, server = pair(version)
        local, remote = Origin(), Origin()
        driver = driver_on(client, local.id, path=path)
        driver.local, driver.remote = local, remote
        driver.start(self.tasks)
        driver.attach(local, remote)
        behind = driver_on(server, self.origin.id)
        behind.start(self.tasks)

        def leave():
            self.left.append(behind)

        peer = Peer(Incoming(behind), self.origin, self.authority, leave, self.clock)
        driver.peer = self.tasks.create_task(peer.serve())
        self.drivers += [driver, behind]
        return driver


@contextlib.asynccontextmanager
async def gate(authority):
    async with asyncio.TaskGroup() as tasks:
        made = Gate(tasks, authority)
        try:
            yield made
        finally:
            for driver in made.drivers:
                driver.close()


@pytest.fixture
def signed(tmp_path):
    file = tmp_path / "key.jwk"
    file.write_text(json.dumps(new_key(bytes(32), kid="k")))

    def make(**claims):
        return sign(Claims(**claims), file)

    make.authority = Authority.load(file, ["open"])
    return make


def test_peer_without_a_token_is_told_why_and_closed(signed):
    async def main():
        async with gate(signed.authority) as relay:
            closed = await relay.join("/room").wait_closed()
            return closed.code, closed.reason

    assert run(main()) == (SessionCode.UNAUTHORIZED, "a token is needed here")


def test_public_prefix_is_open_and_scoped(signed):
    async def main():
        async with gate(signed.authority) as relay:
            guest = relay.join("/open/hall")
            published(guest.local, "alice")
            await relay.origin.wait("open/hall/alice")
            return relay.origin.get("alice")

    assert run(main()) is None


def test_root_connection_sees_public_prefixes_only(signed):
    async def main():
        async with gate(signed.authority) as relay:
            guest = relay.join("/", "moq-lite-04")
            for name in ("open/alice", "secret/bob"):
                published(relay.origin, name)
                published(guest.local, name + "2")
            await guest.remote.wait("open/alice")
            await asyncio.sleep(1)
            with pytest.raises(NotFound):
                await guest.broadcast("secret/bob").subscribe("audio")
            return guest.remote.get("secret/bob"), relay.origin.get("secret/bob2")

    assert run(main()) == (None, None)


def test_token_decides_who_publishes_and_who_listens(signed):
    async def main():
        async with gate(signed.authority) as relay:
            speaker = relay.join("/room?jwt=" + signed(root="room", put="alice"))
            listener = relay.join("/room?jwt=" + signed(root="room", get=""))
            _, audio = published(speaker.local, "alice")
            published(speaker.local, "mallory")
            published(listener.local, "echo")
            reader = await subscribe(listener.remote, "alice")
            write(audio, b"x")
            frame = await (await reader.next_group()).read()
            await asyncio.sleep(1)
            hidden = [relay.origin.get(f"room/{name}") for name in ("mallory", "echo")]
            return frame.payload, hidden, speaker.remote.get("alice")

    assert run(main()) == (b"x", [None, None], None)


def test_two_rooms_do_not_see_each_other(signed):
    async def main():
        async with gate(signed.authority) as relay:
            rooms = [relay.join("/open/a"), relay.join("/open/b")]
            for room in rooms:
                published(room.local, "alice")
            await asyncio.sleep(1)
            watch = [room.remote.watch().poll() for room in rooms]
            return [len(relay.origin.below("open"))], [len(w) for w in watch]

    assert run(main()) == ([2], [0, 0])


def test_session_ends_when_its_token_expires_and_its_broadcasts_go(signed):
    async def main():
        async with gate(signed.authority) as relay:
            path = "/room?jwt=" + signed(root="room", put="", exp=NOW + 30)
            speaker = relay.join(path)
            published(speaker.local, "alice")
            await relay.origin.wait("room/alice")
            await asyncio.sleep(29 - asyncio.get_running_loop().time())
            alive = not speaker.closed
            closed = await speaker.wait_closed()
            await gone(relay.origin, "room/alice")
            await asyncio.sleep(1)
            again = await relay.join(path).wait_closed()
            at = asyncio.get_running_loop().time()
            return alive, closed.code, closed.reason, 30 <= at < 33, again.reason

    assert run(main()) == (
        True,
        SessionCode.UNAUTHORIZED,
        "the token has expired",
        True,
        "the token has expired",
    )


def test_peer_that_never_sends_its_setup_is_put_out(signed):
    async def main():
        async with gate(signed.authority) as relay:
            client, server = pair()
            behind = driver_on(server, 1)
            behind.start(relay.tasks)
            peer = Peer(Incoming(behind), relay.origin, relay.authority, print, relay.clock)
            await peer.serve()
            relay.drivers.append(behind)
            await behind.wait_closed()
            assert client is not None
            return asyncio.get_running_loop().time()

    assert 10 <= run(main()) < 15


def test_peer_that_leaves_at_once_costs_nothing(signed):
    async def main():
        async with gate(signed.authority) as relay:
            early = relay.join("/open")
            early.close()
            await early.wait_closed()
            await early.peer
            return relay.origin.below("")

    assert run(main()) == []


def test_only_a_peer_that_may_publish_has_readers_to_be_moved_when_it_goes(signed):
    async def main():
        async with gate(signed.authority) as relay:
            reader = relay.join("/room?jwt=" + signed(root="room", get=""))
            speaker = relay.join("/room?jwt=" + signed(root="room", put=""))
            published(speaker.local, "alice")
            await relay.origin.wait("room/alice")
            for peer in (reader, speaker):
                peer.send_goaway()
            await asyncio.sleep(1)
            (route,) = relay.origin.routes("room/alice")
            published(speaker.local, "bob")
            await relay.origin.wait("room/bob")
            (later,) = relay.origin.routes("room/bob")
            return relay.left == [relay.drivers[3]], route.is_leaving, later.is_leaving

    assert run(main()) == (True, True, True)


def test_bug_in_serving_a_peer_ends_that_peer_only(signed, monkeypatch, caplog):
    async def main():
        async with gate(signed.authority) as relay:
            good = relay.join("/open")
            await asyncio.sleep(1)

            def broken(*_args, **_options):
                raise KeyError("bug")

            with monkeypatch.context() as patched:
                patched.setattr(relay.origin, "view", broken)
                bad = relay.join("/open")
                closed = await bad.wait_closed()
            return closed.code, good.closed

    assert run(main()) == (SessionCode.INTERNAL, False)
    assert "hit a bug" in caplog.text
