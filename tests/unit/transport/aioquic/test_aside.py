"""Half-open connections that are put aside, and go on as if they had not been."""

import asyncio
import enum
import gc
import inspect
import io
import pickle
import random
import tracemalloc

import pytest
from aioquic import tls
from aioquic.quic.crypto import CryptoContext
from aioquic.quic.events import StreamDataReceived
from tests import aio
from tests.unit.transport.aioquic.links import Desk
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, Wire, configuration

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.private.aside import (
    MAX_REPEATS,
    is_aside,
    is_unheard,
    put_aside,
    record_of,
    take_up,
)
from moqvox.transport.aioquic.private.written import (
    CONSTANTS,
    MAX_CONSTANTS,
    MAX_SHAPES,
    SPENT,
    Constants,
    Others,
    Shapes,
    Writer,
    _is_plain,
    _named,
    _parts,
)
from moqvox.transport.aioquic.raw import RawConnection

KINDS = frozenset(
    (
        *("Bucket", "CipherSuite", "CryptoContext", "CryptoPair", "Engine", "Epoch"),
        *("ExtensionType", "Few", "FrameHandlers", "Gaps", "InitialKeys", "KeySchedule", "Latest"),
        *("LeanContext", "Limit", "Limits", "Logger", "Losses", "PskKeyExchangeMode"),
        *("QuicConfiguration", "QuicConnectionId", "QuicConnectionState", "QuicFrameType"),
        *("QuicNetworkPath", "QuicPacketNumberWindow", "QuicPacketPacer", "QuicPacketSpace"),
        *("QuicPacketType", "QuicProtocolVersion", "QuicRttMonitor", "QuicSentPacket"),
        *("QuicStream", "QuicStreamSender", "QuicVersionInformation", "QuietLog", "RangeSet"),
        *("Ranges", "Receiver", "Recovery", "Redundancy", "Reno", "State"),
        *("StreamTable", "VerifyMode", "range"),
    )
)
"""Classes of the objects that are written, or named."""

MOST_BYTES = 10 * 1024
WORDS = bytes(range(256)) * 20


class Restless(Wire):
    """A wire whose server is put aside at every chance, and says something first."""

    def __init__(self, seed: int, *, first: bytes = WORDS, answer: bytes = WORDS) -> None:
        self.dice = random.Random(seed)
        self.times_aside = 0
        super().__init__(lose=lambda: self.dice.random() < 0.25)
        self.first, self.answer = first, answer

    def _send(self) -> None:
        super()._send()
        server = self.server
        if server._state.name == "CONNECTED" and self.first and server.has_begun:
            stream = server.open_stream(bidirectional=False, priority=0)
            server.table.feed(stream, self.first, fin=True)
            self.first = b""
            super()._send()
        if self.client._handshake_complete and self.answer:
            stream = self.client.open_stream(bidirectional=False, priority=0)
            self.client.table.feed(stream, self.answer, fin=True)
            self.answer = b""
            super()._send()
        # Swaps what is under way: the wire delivers in this order what is due at once.
        if self.dice.random() < 0.3:
            self.dice.shuffle(self.flying)
        if server._close_at is not None and not server._handshake_complete:
            put_aside(server)
            self.times_aside += 1

    def heard_by(self, engine: Engine) -> bytes:
        return b"".join(
            event.data for event in self.events[engine] if isinstance(event, StreamDataReceived)
        )


@pytest.mark.parametrize("seed", range(12))
def test_put_aside_at_any_moment_of_a_lossy_handshake_nothing_is_missing_after_it(seed):
    wire = Restless(seed)
    wire.run(10.0)
    assert wire.times_aside > 2
    assert wire.heard_by(wire.client) == WORDS
    assert wire.heard_by(wire.server) == WORDS
    for engine in (wire.client, wire.server):
        assert engine.recovery.handshake_confirmed
        assert engine.ending() is None


def test_no_packet_number_is_used_twice():
    """A number that protects two packets gives both away."""
    wire, seen = Restless(3), set()
    encrypt = CryptoContext.encrypt_packet

    def note(self, header, payload, number):
        seen.add((self.secret, number))
        counted.append(number)
        return encrypt(self, header, payload, number)

    counted: list[int] = []
    CryptoContext.encrypt_packet = note
    try:
        wire.run(5.0)
    finally:
        CryptoContext.encrypt_packet = encrypt
    assert wire.times_aside > 2
    assert len(seen) == len(counted) > 20


# A link and its client, of which the wire may be cut.


class Scene:
    """A server's link and a client's engine of bare bytes; time jumps."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.desk = Desk(SERVER, delay=0.0, lose=lambda: False)
        self.desk.send = self._take
        self.sent: list[bytes] = []
        self.client = self.make_client()
        self.link = self.desk.open(self.make_server(), self.limits)
        self.link.is_newcomer = True
        self.raw = self.link.observer = RawConnection(self.link, protocol="x", is_client=False)
        self.client.connect(SERVER, self.desk.now())

    def make_client(self) -> Engine:
        return Engine(configuration(is_client=True, limits=self.limits), self.limits)

    def make_server(self) -> Engine:
        return Engine(
            configuration(is_client=False, limits=self.limits),
            self.limits,
            original_destination_connection_id=self.client.original_destination_connection_id,
        )

    def _take(self, link, data, address) -> None:
        self.sent.append(data)

    async def say(self, *datagrams: bytes) -> list[bytes]:
        """Let the client say what it has to say, or this; returns the answers."""
        now, before = self.desk.now(), len(self.sent)
        for data in datagrams or [data for data, _ in self.client.datagrams_to_send(now)]:
            self.link.receive(data, CLIENT, now)
        await asyncio.sleep(0.01)
        return self.sent[before:]

    def hear(self, datagrams: list[bytes]) -> None:
        for data in datagrams:
            self.client.receive_datagram(data, SERVER, self.desk.now())

    async def ask_again(self) -> list[bytes]:
        """Let the client's probe time-out pass."""
        timer = self.client.get_timer()
        assert timer is not None
        await asyncio.sleep(max(0.0, timer - self.desk.now()) + 0.01)
        self.client.handle_timer(self.desk.now())
        return await self.say()

    async def wait(self) -> list[bytes]:
        """Let so much time pass that the server puts its connection aside."""
        answers = await self.say()
        await asyncio.sleep(3.0)
        assert self.link.is_aside
        return answers


def play(story, **options):
    async def told():
        await story(Scene(**options))

    aio.run(told())


def test_a_client_that_answers_late_finds_everything_as_it_was():
    async def story(scene):
        answers = await scene.wait()
        scene.hear(answers)
        answers = await scene.say()
        assert not scene.link.is_aside
        scene.hear(answers)
        assert scene.client.recovery.handshake_confirmed
        stream = scene.client.open_stream(bidirectional=False, priority=0)
        scene.client.table.feed(stream, b"late", fin=True)
        await scene.say()
        assert any(getattr(event, "data", b"") == b"late" for event in await scene.raw.events())
        await asyncio.sleep(3.0)
        assert not scene.link.is_aside

    play(story)


def test_a_client_that_lost_the_answer_gets_it_again_when_it_asks_again():
    async def story(scene):
        await scene.wait()
        answers = await scene.ask_again()
        assert sum(map(len, answers)) >= 1200
        scene.hear(answers)
        scene.hear(await scene.say())
        assert scene.client.recovery.handshake_confirmed

    play(story)


class Wordy(Scene):
    """A client whose first message takes two packets."""

    def make_client(self):
        settings = configuration(is_client=True, limits=self.limits)
        settings.alpn_protocols = ["x", *(f"protocol-{number}" for number in range(120))]
        return Engine(settings, self.limits)


def test_half_a_first_message_is_put_aside_too_and_the_rest_of_it_goes_on():
    async def story(scene):
        first, *rest = [data for data, _ in scene.client.datagrams_to_send(scene.desk.now())]
        assert len(rest) == 1
        await scene.say(first)
        await asyncio.sleep(3.0)
        assert scene.link.is_aside
        scene.hear(await scene.say(*rest))
        for _ in range(3):
            scene.hear(await scene.say())
        assert scene.client.recovery.handshake_confirmed

    async def told():
        await story(Wordy())

    aio.run(told())


def test_what_cannot_be_written_is_closed_and_stops_nobody():
    async def story(scene):
        await scene.say()
        scene.link.engine.other = (number for number in ())
        await asyncio.sleep(5.0)
        assert not scene.link.is_aside
        assert scene.link.is_closing

    play(story)


def test_while_it_is_aside_nothing_is_sent_and_no_time_is_spent():
    async def story(scene):
        await scene.wait()
        sent = len(scene.sent)
        await asyncio.sleep(20.0)
        assert len(scene.sent) == sent
        assert scene.link.is_aside

    play(story)


def test_one_that_answers_in_time_is_never_put_aside():
    async def story(scene):
        scene.hear(await scene.say())
        scene.hear(await scene.say())
        await asyncio.sleep(3.0)
        assert not scene.link.is_aside
        assert scene.link.engine.recovery.handshake_confirmed

    play(story)


def test_who_was_understood_stays_even_if_its_handshake_is_not_complete():
    async def story(scene):
        answers = await scene.say()
        scene.hear(answers[:1])
        await asyncio.sleep(0.1)
        await scene.say()
        assert not is_unheard(scene.link.engine)
        await asyncio.sleep(3.0)
        assert not scene.link.is_aside

    play(story)


def test_junk_takes_nothing_up():
    async def story(scene):
        await scene.wait()
        (first,) = [data for data, _ in scene.make_client_again().datagrams_to_send(0.0)]
        host_cid = scene.cid
        dice = random.Random(1)
        handshake = b"\xe0" + first[1:5] + bytes([len(host_cid)]) + host_cid + b"\0\x44\0"
        junk = [
            first,  # well protected, but for another connection
            first[:-1],
            b"",
            handshake + dice.randbytes(1024),
            handshake[:9],
            b"\x40" + host_cid + dice.randbytes(100),
            *(dice.randbytes(size) for size in (1, 20, 1200)),
        ]
        for data in junk:
            if data:
                assert await scene.say(data) == []
            assert scene.link.is_aside
        counted = scene.raw.stats()
        assert counted.received_packets == len(junk)
        assert scene.link.is_aside

    class Junk(Scene):
        def make_server(self):
            made = super().make_server()
            self.cid = made.host_cid
            return made

        def make_client_again(self):
            other = self.make_client()
            other.connect(SERVER, 0.0)
            return other

    async def told():
        await story(Junk())

    aio.run(told())


def test_a_small_datagram_with_a_first_packet_does_not_count():
    async def story(scene):
        datagrams = [data for data, _ in scene.client.datagrams_to_send(0.0)]
        await scene.say(*datagrams)
        await asyncio.sleep(3.0)
        assert record_of(scene.link.engine).door_of(datagrams[0]) is not None
        assert record_of(scene.link.engine).door_of(datagrams[0][:1199]) is None

    play(story)


def test_first_packets_take_it_up_a_few_times_only_and_a_later_one_still_does():
    async def story(scene):
        answers = await scene.say()
        for times in range(MAX_REPEATS + 2):
            await asyncio.sleep(3.0)
            assert scene.link.is_aside
            answered = await scene.ask_again()
            assert bool(answered) == (times < MAX_REPEATS)
        assert record_of(scene.link.engine).repeats == MAX_REPEATS
        assert scene.client.ending() is None
        scene.hear(answers)
        scene.hear(await scene.say())
        assert scene.client.recovery.handshake_confirmed

    play(story, limits=Limits(handshake_timeout=60.0))


def test_what_the_application_says_meanwhile_arrives():
    async def story(scene):
        answers = await scene.wait()
        stream = scene.raw.open_stream(bidirectional=False)
        scene.raw.write(stream, b"meanwhile", fin=True)
        await asyncio.sleep(5.0)
        assert scene.link.is_aside
        scene.hear(answers)
        for _ in range(4):
            scene.hear(await scene.say())
            await asyncio.sleep(0.1)
        events = iter(scene.client.next_event, None)
        assert b"meanwhile" in [getattr(event, "data", b"") for event in events]

    play(story)


def test_one_that_is_aside_can_be_closed():
    async def story(scene):
        answers = await scene.wait()
        scene.raw.close(7, "enough")
        await asyncio.sleep(4.0)
        scene.hear(answers)
        scene.hear(scene.sent[len(answers) :])
        assert scene.client.ending() is not None
        await scene.raw.wait_closed()

    play(story)


def test_one_that_is_aside_can_be_dropped_and_let_go():
    async def story(scene):
        await scene.wait()
        sent = len(scene.sent)
        scene.link.abort(Ending(0, is_transport=True, reason="late", lost=True).closed())
        scene.link.let_go()
        await scene.raw.wait_closed()
        assert len(scene.sent) == sent
        assert scene.raw.stats().sent_packets > 0

    play(story)


def test_after_the_idle_timeout_it_is_over():
    async def story(scene):
        await scene.wait()
        await asyncio.sleep(40.0)
        assert scene.link.is_closing
        await scene.raw.wait_closed()

    play(story)


def test_its_address_and_counters_are_told_without_taking_it_up():
    async def story(scene):
        await scene.say()
        live = scene.link.stats()
        await asyncio.sleep(3.0)
        assert scene.link.is_aside
        aside = scene.link.stats()
        assert scene.link.peer == CLIENT
        assert scene.link.is_aside
        assert aside.sent_packets >= live.sent_packets > 0
        assert aside.unacked_bytes > 0
        take_up(scene.link.engine)
        assert scene.link.stats().sent_packets == aside.sent_packets
        assert scene.link.stats().unacked_bytes == aside.unacked_bytes
        assert scene.link.stats().unsent_bytes == aside.unsent_bytes

    play(story)


# White-box.


def half_open() -> Engine:
    """Make a server that has answered a first packet."""
    wire = Wire()
    (data,) = [data for data, _ in wire.client.datagrams_to_send(0.0)]
    wire.server.receive_datagram(data, CLIENT, 0.0)
    wire.server.datagrams_to_send(0.0)
    while wire.server.next_event() is not None:
        pass
    return wire.server


def test_any_touch_takes_it_up():
    for touch in (
        lambda engine: engine.is_closing,
        lambda engine: engine.get_timer(),
        lambda engine: engine._state,
        lambda engine: engine.repeats,
        lambda engine: setattr(engine, "anything", 1),
    ):
        engine = half_open()
        put_aside(engine)
        assert is_aside(engine)
        assert list(object.__getattribute__(engine, "__dict__")) == ["record"]
        touch(engine)
        assert type(engine) is Engine
    assert engine.anything == 1


def test_what_is_taken_up_is_what_was_put_aside():
    engine = half_open()
    table, limits, timer = engine.table, engine._limits, engine.get_timer()
    before = dict(vars(engine))
    put_aside(engine)
    assert engine.get_timer() == timer
    assert vars(engine).keys() == before.keys()
    for name, value in vars(engine).items():
        if isinstance(value, bool | int | float | bytes | tuple | None):
            assert value == before[name], name
        assert type(value) is type(before[name]), name
    assert engine.table is table
    assert engine._limits is limits
    assert engine._configuration is before["_configuration"]
    assert engine.recovery is engine._loss
    assert engine.recovery.engine is engine
    assert engine.recovery.spaces == list(engine._spaces.values())
    assert engine._cryptos[tls.Epoch.INITIAL] is engine._cryptos_initial[engine._version]
    assert engine.tls.update_traffic_key_cb == engine._update_traffic_key


def test_keys_are_made_of_the_same_secrets():
    engine = half_open()
    kept = {
        (epoch, side): getattr(pair, side)
        for epoch, pair in engine._cryptos.items()
        for side in ("recv", "send")
    }
    put_aside(engine)
    for (epoch, side), keys in kept.items():
        made = getattr(engine._cryptos[epoch], side)
        assert made is not keys
        assert vars(made).keys() == vars(keys).keys()
        assert made.is_valid() == keys.is_valid()
        for name in ("cipher_suite", "secret", "version", "key_phase"):
            assert getattr(made, name) == getattr(keys, name)
        if keys.is_valid():
            assert made.encrypt_packet(b"\xc3" * 30, b"words", 7) == keys.encrypt_packet(
                b"\xc3" * 30, b"words", 7
            )


def test_the_private_keys_of_a_handshake_are_not_kept():
    engine = half_open()
    put_aside(engine)
    take_up(engine)
    assert SPENT.isdisjoint(vars(engine.tls))


def test_upstream_needs_nothing_that_is_spent_for_the_last_step_of_a_handshake():
    source = inspect.getsource(tls.Context._server_handle_finished)
    source += inspect.getsource(tls.Context._build_session_ticket)
    source += inspect.getsource(tls.Context._setup_traffic_protection)
    assert not [name for name in SPENT if f"self.{name}" in source]
    known = vars(half_open().tls).keys() | {"_x25519_private_key", "_x448_private_key"}
    assert known >= SPENT


def test_nothing_is_written_that_is_not_known():
    """Another kind of object, with a new release of aioquic, may need care."""
    engine, kinds = half_open(), set()

    class Watching(Writer):
        def reducer_override(self, one):
            if not inspect.isroutine(one) and not isinstance(one, type):
                kinds.add(type(one).__name__)
            return super().reducer_override(one)

    others = Others(engine._configuration, engine._limits, None, None, engine.table)
    Watching(io.BytesIO(), _named(engine, others)).dump(_parts(engine, vars(engine)))
    assert kinds <= KINDS, kinds - KINDS


def test_only_who_is_made_of_attributes_is_written_by_them():
    class Plain:
        """One of ours, if it said so."""

    Plain.__module__ = "moqvox.transport"

    class Slotted(Plain):
        __slots__ = ("x",)

    class Listed(Plain, list):
        """Holds more than attributes."""

    class Own(Plain):
        def __reduce__(self):
            return Own, ()

    for kind in (Slotted, Listed, Own):
        kind.__module__ = "moqvox.transport"
    assert _is_plain(Plain)
    assert not any(_is_plain(kind) for kind in (Slotted, Listed, Own, random.Random, tls.State))


def test_shapes_are_numbered_up_to_a_bound_and_written_in_full_beyond():
    shapes = Shapes()
    names = [shapes.name(Plain, (f"attribute{number}",)) for number in range(MAX_SHAPES + 9)]
    assert names[:MAX_SHAPES] == list(range(MAX_SHAPES))
    assert len(shapes) == MAX_SHAPES
    assert names[-1] == (Plain, (f"attribute{MAX_SHAPES + 8}",))
    assert [shapes[name] for name in names] == [
        (Plain, (f"attribute{number}",)) for number in range(MAX_SHAPES + 9)
    ]
    assert shapes.name(Plain, ("attribute1",)) == 1


class Colour(enum.IntEnum):
    RED = 1


class Fruit(enum.IntEnum):
    APPLE = 1


def test_constants_are_numbered_by_what_they_are_up_to_a_bound():
    constants = Constants()
    assert Colour.RED == Fruit.APPLE
    numbers = [constants.number(one) for one in (Colour.RED, Fruit.APPLE, Colour)]
    assert [constants[number] for number in numbers] == [Colour.RED, Fruit.APPLE, Colour]
    assert type(constants[numbers[1]]) is Fruit
    kinds = [type(f"Kind{number}", (), {}) for number in range(MAX_CONSTANTS)]
    assert [constants.number(kind) for kind in kinds][-3:] == [None] * 3
    assert len(constants) == MAX_CONSTANTS
    assert constants.number(Fruit.APPLE) == numbers[1]


def test_what_is_made_while_a_module_runs_is_not_kept_and_not_written():
    engine = half_open()
    put_aside(half_open())
    count = len(CONSTANTS)
    engine.other = lambda: engine
    with pytest.raises((AttributeError, pickle.PicklingError)):
        put_aside(engine)
    assert len(CONSTANTS) == count


def test_constants_are_the_same_after_they_were_written():
    engine = half_open()
    engine.others = [Colour.RED, Fruit.APPLE, Colour, tls.Epoch.INITIAL, half_open, len]
    before = list(engine.others)
    put_aside(engine)
    assert all(one is other for one, other in zip(engine.others, before, strict=True))


class Plain:
    """Has whatever attributes it gets."""


def test_one_that_is_aside_costs_a_third_of_what_it_was():
    put_aside(half_open())
    count, clock, limits = 10, 0.0, Limits()
    settings = configuration(is_client=False, limits=limits)
    clients = [Engine(configuration(is_client=True, limits=limits), limits) for _ in range(count)]
    for client in clients:
        client.connect(SERVER, clock)
    firsts = [client.datagrams_to_send(clock)[0][0] for client in clients]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = []

    async def fill():
        for client, first in zip(clients, firsts, strict=True):
            name = client.original_destination_connection_id
            engine = Engine(settings, limits, original_destination_connection_id=name)
            link = Link(engine, limits, Desk(SERVER, delay=0.0, lose=lambda: True))
            link.observer = RawConnection(link, protocol="x", is_client=False)
            link.receive(first, CLIENT, clock)
            link.flush(clock)
            put_aside(engine)
            held.append(link)

    aio.run(fill())
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown / count < MOST_BYTES
