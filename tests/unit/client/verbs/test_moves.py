"""Verbs whose relay drains: they move to the next one, or say in a line that they end."""

import asyncio
import functools
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from tests.unit.client.verbs.conftest import RunningRelay, certificate

from moqvox.connect import connect
from moqvox.frame import Frame, TrackInfo
from moqvox.media.container import encode_legacy
from moqvox.model import broadcast
from moqvox.model.origin import Origin
from moqvox.transport.credentials import Verify
from moqvox_client import legs
from moqvox_relay.config import Config
from moqvox_relay.relay import Relay

pytestmark = [pytest.mark.net, pytest.mark.slow]

SILENCE = b"\xf8\xff\xfe"
"""20 ms of Opus."""


@pytest.fixture(autouse=True)
def _short_handover(monkeypatch):
    monkeypatch.setattr(legs, "HANDOVER", 0.3)


@pytest.fixture
def relays(backstage, tmp_path_factory):
    """Start a relay that drains for so many seconds when its `serving` is cancelled."""
    directory = tmp_path_factory.getbasetemp()
    certificate(directory)

    def start(drain):
        made = Relay(
            Config(
                bind="127.0.0.1:0",
                tls_cert=directory / "cert.pem",
                tls_key=directory / "key.pem",
                public=("",),
                http=False,
                drain=drain,
            )
        )
        serving = backstage.start(made.run())
        backstage.call(made.started.wait())
        running = RunningRelay(made)
        running.serving = serving
        return running

    return functools.cache(start)


async def once(condition, then):
    """Do something a moment after a condition of another task's holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    then()


def reads(pulling):
    return lambda: any(line["event"] == "subscribed" for line in pulling.said())


def has_broadcast(relay):
    return lambda: relay.relay.origin.get("a.hang") is not None


def test_push_and_pull_move_to_the_next_relay_and_all_of_it_arrives(
    relays, backstage, command, aside, tmp_path
):
    first, second = relays(20.0), relays(0.0)
    also = ("--also", second.url(), *first.trust)
    pulling = aside("pull", first.url(), "a.hang", "--out", tmp_path / "o.ogg", *also)
    backstage.start(once(reads(pulling), first.serving.cancel))
    tone = ("--tone", "440", "--duration", "1500ms", "--group", "100ms", "--json")
    said = command("push", first.url(), "a.hang", *tone, *also)
    assert said.code == 0
    assert pulling.result(10) == 0
    received = pulling.said()[-1]
    assert received["digest"] == said.done["digest"]
    assert (received["frames"], received["lost_groups"]) == (said.done["frames"], 0)
    assert said.done["moves"] == 1
    assert said.err == (
        f"127.0.0.1:{first.port} asks to move: going on at 127.0.0.1:{second.port}\n"
    )


def test_push_whose_only_relay_drains_says_so_and_ends_with_it(relays, backstage, command):
    only = relays(1.2)
    backstage.start(once(has_broadcast(only), only.serving.cancel))
    words = ("--tone", "440", "--timeout", "300ms", *only.trust)
    said = command("push", only.url(), "a.hang", *words)
    assert said.code == 1
    first, *others, last = said.err.splitlines()
    asks = f"127.0.0.1:{only.port} asks to move, but there is nobody else yet: "
    assert all(line.startswith(asks) for line in (first, *others))
    assert last.startswith("moqvox: session ended: ")


def test_pull_of_an_anonymous_publisher_stays_with_it_and_says_why_it_ends(
    relays, backstage, command, tmp_path
):
    """Its broadcast at the next relay may be of anybody."""
    first, second = relays(1.0), relays(0.0)

    async def speak():
        origin = Origin()
        producer = broadcast.Producer()
        audio = producer.create_track("audio", TrackInfo(priority=80))
        origin.publish("a.hang", producer.consume())
        publish = {"publish": origin, "origin_id": 0, "verify": Verify.nothing()}
        async with connect(first.url(), **publish), connect(second.url(), **publish):
            for number in range(1000):
                writer = audio.append_group()
                writer.write(Frame(encode_legacy(20_000 * number, SILENCE), 20_000 * number))
                writer.finish()
                await asyncio.sleep(0.02)

    speaking = backstage.start(speak())
    backstage.start(once(lambda: first.relay.served == 2, first.serving.cancel))
    out = tmp_path / "o.ogg"
    words = ("--track", "audio", "--out", out, "--also", second.url(), *first.trust)
    said = command("pull", first.url(), "a.hang", *words)
    speaking.cancel()
    assert said.code == 1
    assert said.err.splitlines() == [
        f"127.0.0.1:{first.port} asks to move: going on at 127.0.0.1:{second.port}",
        "moqvox: the broadcast did not go on where its server asked to move",
    ]
    assert out.stat().st_size > 100


class Restless:
    """A session whose server asks to move as soon as it is open."""

    def __init__(self):
        self.connection = SimpleNamespace(
            remote_address="there", stats=lambda: SimpleNamespace(path_changes=0)
        )
        self.goaway, self.goaway_uri, self.closed = asyncio.Event(), "", False
        self.goaway.set()
        self._over = asyncio.Event()

    async def wait_leaving(self):
        return not self.closed

    async def wait_closed(self):
        await self._over.wait()

    def close(self):
        self.closed = True
        self._over.set()


def test_servers_that_only_send_on_do_not_keep_a_verb_busy(monkeypatch):
    opened, pauses, sleep = [], [], asyncio.sleep

    @asynccontextmanager
    async def reach(*_args, **_options):
        opened.append(Restless())
        yield opened[-1]

    async def pause(seconds):
        pauses.append(seconds)
        if len(opened) > 9:
            enough.set()
        await sleep(0)

    async def main():
        async with legs.standing(
            ["moqt://a/", "moqt://b/"], None, SimpleNamespace(note=lambda _line: None)
        ) as held:
            await enough.wait()
            return held.moves

    enough = asyncio.Event()
    monkeypatch.setattr(legs, "reach", reach)
    monkeypatch.setattr(legs.asyncio, "sleep", pause)
    moves = asyncio.run(main())
    assert pauses.count(legs.FIRST_WAIT) >= moves >= 9
    assert all(each.closed for each in opened)
