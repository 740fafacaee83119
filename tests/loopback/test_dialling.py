"""Dialling and listening: who gets in, and what those are told who don't."""

import asyncio
import contextlib
import datetime
import socket
from collections.abc import Coroutine

import msgspec
import pytest
from tests import aio
from tests.loopback.pairs import (
    HASTY,
    PATIENCE,
    PROTOCOL,
    Reader,
    certificate,
    dial,
    identity,
    open_listener,
    pair,
)

from moqvox.errors import LocalError, SessionClosed
from moqvox.transport.aioquic import Limits, connect, dialling, listen
from moqvox.transport.aioquic import dial as dial_module
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.failures import (
    CertificateRefused,
    ConnectFailed,
    HostUnknown,
    NoAnswer,
    NoCommonProtocol,
    PortRefused,
)
from moqvox.transport.interface import Closed, Connection
from moqvox.transport.urge import Urge
from moqvox_certs import generate

pytestmark = pytest.mark.net


def run(main: Coroutine[object, None, None], *, virtual: bool = True) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE):
            await main

    aio.run(bounded(), virtual=virtual, sockets=virtual)


@contextlib.asynccontextmanager
async def listening(**options):
    listener = await open_listener(limits=HASTY, **options)
    try:
        yield listener
    finally:
        await listener.close()


async def greet(listener, **options) -> str:
    """Dial, say goodbye, and tell what was agreed on."""
    connection = await dial(listener, **options)
    connection.close()
    await connection.wait_closed()
    return connection.protocol


@pytest.mark.parametrize("webtransport", [False, True])
@pytest.mark.parametrize(
    "verify",
    [
        Verify.authority(certificate().ca_pem),
        Verify.pinned([certificate().fingerprint_hex]),
        Verify.pinned(["00" * 32, certificate().fingerprint_hex.upper()]),
        Verify.nothing(),
    ],
    ids=["authority", "pinned", "one of two pins", "nothing"],
)
def test_a_certificate_that_was_asked_for_is_accepted(verify, webtransport):
    async def main():
        async with listening() as listener:
            assert await greet(listener, verify=verify, webtransport=webtransport) == PROTOCOL

    run(main())


def other_authority() -> bytes:
    return generate(["localhost"], datetime.datetime.now(datetime.UTC)).ca_pem


@pytest.mark.parametrize("webtransport", [False, True])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"verify": Verify.pinned(["00" * 32])}, "fingerprint"),
        ({"verify": Verify.authority(other_authority())}, "issuer"),
        ({"verify": Verify.system()}, "issuer"),
        ({"server_name": "elsewhere.example"}, "elsewhere.example"),
    ],
    ids=["pin", "authority", "system", "name"],
)
def test_another_certificate_is_refused_before_a_byte_is_said(options, words, webtransport):
    async def main():
        async with listening() as listener:
            with pytest.raises(CertificateRefused, match=words):
                await dial(listener, webtransport=webtransport, **options)
            if not webtransport:
                # It is there from the server's first flight on, and says nothing.
                connection = await listener.accept()
                assert [type(event) for event in await connection.events()] == [Closed]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await listener.accept()

    run(main())


def test_a_pinned_certificate_must_be_valid_now():
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=20)
    expired = generate(["localhost"], past, days=2)
    server = ServerCertificate(expired.cert_pem, expired.key_pem)

    async def main():
        async with listening(certificate=server) as listener:
            with pytest.raises(CertificateRefused, match="expired"):
                await dial(listener, verify=Verify.pinned([expired.fingerprint_hex]))

    run(main())


@pytest.mark.parametrize("webtransport", [False, True])
def test_without_a_common_protocol_there_is_no_connection(webtransport):
    async def main():
        async with listening() as listener:
            with pytest.raises(ConnectFailed) as caught:
                await dial(listener, protocols=["moq-99"], webtransport=webtransport)
            assert webtransport or isinstance(caught.value, NoCommonProtocol)

    run(main())


def test_without_webtransport_the_port_speaks_raw_quic_only():
    async def main():
        async with listening(webtransport=False) as listener:
            with pytest.raises(NoCommonProtocol):
                await dial(listener, webtransport=True)
            assert await greet(listener) == PROTOCOL

    run(main())


@pytest.mark.parametrize("webtransport", [False, True])
def test_the_servers_order_of_protocols_decides(webtransport):
    async def main():
        async with listening(protocols=["moq-lite-06", "moq-lite-05", "moq-lite-04"]) as listener:
            offers = ["moq-lite-03", "moq-lite-04", "moq-lite-05"]
            agreed = await greet(listener, protocols=offers, webtransport=webtransport)
            assert agreed == "moq-lite-05"

    run(main())


def test_both_kinds_and_both_families_use_one_port():
    async def main():
        listener = await listen("::", 0, protocols=[PROTOCOL], certificate=identity(), limits=HASTY)
        try:
            port = listener.addresses[0][1]
            for host in ("127.0.0.1", "::1", "localhost"):
                for webtransport in (False, True):
                    connection = await connect(
                        host,
                        port,
                        protocols=[PROTOCOL],
                        webtransport=webtransport,
                        verify=Verify.pinned([certificate().fingerprint_hex]),
                    )
                    accepted = await listener.accept()
                    assert accepted.kind is connection.kind
                    assert "ffff" not in accepted.remote_address
                    connection.close()
                    await connection.wait_closed()
        finally:
            await listener.close()

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_nobody_listens_on_is_told_at_once(host):
    async def main():
        with socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
        ) as free:
            free.bind((host, 0))
            port = free.getsockname()[1]
        with pytest.raises(PortRefused, match=str(port)):
            await connect(host, port, protocols=[PROTOCOL], webtransport=False, timeout=5)

    run(main())


def test_silence_is_told_after_the_time_given():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            port = silent.getsockname()[1]
            with pytest.raises(NoAnswer, match="firewall"):
                await connect(
                    "127.0.0.1", port, protocols=[PROTOCOL], webtransport=False, timeout=0.1
                )

    run(main())


def test_an_unknown_name_is_told():
    async def main():
        with pytest.raises(HostUnknown, match="no address"):
            await connect("nowhere.invalid", 443, protocols=[PROTOCOL], webtransport=True)

    run(main(), virtual=False)


async def dial_both(monkeypatch, port: int, **options: object) -> Connection:
    """Dial a name that has two addresses of this machine."""

    async def lookup(*_args, **_options):
        kinds = (socket.SOCK_DGRAM, socket.IPPROTO_UDP, "")
        return [
            (socket.AF_INET6, *kinds, ("::1", port, 0, 0)),
            (socket.AF_INET, *kinds, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    return await connect("localhost", port, protocols=[PROTOCOL], webtransport=False, **options)


def test_a_name_with_several_addresses_reaches_the_one_that_answers(monkeypatch):
    async def main():
        async with listening() as listener:
            port = listener.addresses[0][1]
            verify = Verify.authority(certificate().ca_pem)
            connection = await dial_both(monkeypatch, port, verify=verify)
            assert connection.remote_address == f"127.0.0.1:{port}"
            connection.close()
            await connection.wait_closed()

    run(main())


def test_of_two_addresses_the_one_that_can_be_reached_tells_why(monkeypatch):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        with pytest.raises(PortRefused, match=f"nothing listens on UDP 127.0.0.1:{port}"):
            await dial_both(monkeypatch, port, local=("127.0.0.1", 0))

    run(main())


@pytest.mark.parametrize("addresses", [1, 2])
def test_roots_that_can_not_be_read_are_told_bare_and_leave_nothing_open(monkeypatch, addresses):
    opened = []

    def note(*args):
        opened.append(bind(*args))
        return opened[-1]

    bind = dial_module.bind
    monkeypatch.setattr(dial_module, "bind", note)

    async def main():
        verify = Verify.authority(b"junk")
        if addresses == 1:
            dialled = connect("::1", 4, protocols=["x"], webtransport=False, verify=verify)
        else:
            dialled = dial_both(monkeypatch, 4, verify=verify)
        with pytest.raises(LocalError, match="roots to trust can't be read"):
            await dialled

    run(main())
    assert [sock for sock in opened if sock.fileno() != -1] == []


def test_the_local_address_can_be_chosen():
    async def main():
        async with listening() as listener:
            connection = await dial(listener, local=("127.0.0.3", 0))
            accepted = await listener.accept()
            assert accepted.remote_address.startswith("127.0.0.3:")
            connection.close()
            await connection.wait_closed()
            with pytest.raises(ConnectFailed, match="cannot send from"):
                await dial(listener, local=("192.0.2.7", 0))
            with pytest.raises(ConnectFailed, match="from ::1"):
                await dial(listener, local=("::1", 0))

    run(main())


def test_an_address_in_use_and_a_key_that_does_not_parse_are_the_callers_errors():
    async def main():
        async with listening() as listener:
            host, port = listener.addresses[0]
            with pytest.raises(LocalError, match="cannot listen"):
                await listen(host, port, protocols=[PROTOCOL], certificate=identity())
        broken = ServerCertificate(certificate().cert_pem, b"no key")
        with pytest.raises(LocalError, match="can't be used"):
            await listen("127.0.0.1", 0, protocols=[PROTOCOL], certificate=broken)
        with pytest.raises(LocalError, match="no protocol"):
            await listen("127.0.0.1", 0, protocols=[], certificate=identity())

    run(main())


def test_a_cancelled_dial_leaves_nothing_behind():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await connect(
                        "127.0.0.1",
                        silent.getsockname()[1],
                        protocols=[PROTOCOL],
                        webtransport=False,
                    )

    run(main())


def test_above_the_threshold_clients_must_prove_their_address():
    async def main():
        limits = msgspec.structs.replace(HASTY, retry_above_half_open=0)
        listener = await open_listener(limits=limits)
        try:
            for webtransport in (False, True):
                connection = await dial(listener, webtransport=webtransport)
                stream = connection.open_stream(bidirectional=False)
                connection.write(stream, b"after a retry", fin=True)
                server = Reader(await listener.accept())
                await server.until(lambda reader: reader.ended)
                connection.close()
                await connection.wait_closed()
        finally:
            await listener.close()

    run(main())


def test_a_full_listener_drops_strangers_and_serves_those_inside():
    async def main():
        listener = await open_listener(limits=Limits(max_connections=1, linger=0.05))
        try:
            first = await dial(listener)
            server = Reader(await listener.accept())
            with pytest.raises(NoAnswer):
                await dial(listener, timeout=0.1)
            first.write(first.open_stream(bidirectional=False), b"still here", fin=True)
            await server.until(lambda reader: reader.ended)
            first.close()
            await first.wait_closed()
        finally:
            await listener.close()

    run(main())


def test_connections_that_nobody_accepts_are_refused_beyond_a_bound():
    async def main():
        listener = await open_listener(limits=Limits(max_unaccepted=1, linger=0.05))
        try:
            first = await dial(listener)
            with pytest.raises(ConnectFailed, match="0x2: busy"):
                await dial(listener)
            first.close()
            await first.wait_closed()
        finally:
            await listener.close()

    run(main())


def test_a_handshake_that_stalls_is_dropped():
    async def main():
        listener = await open_listener(limits=Limits(handshake_timeout=0.05, max_half_open=1))
        try:
            # WebTransport's handshake ends with a request, which this client never sends.
            stalled = Reader(await dial(listener, protocols=["h3"]))
            with pytest.raises(NoAnswer):
                await dial(listener, timeout=0.03)
            await stalled.until_closed()
            connection = await dial(listener)
            connection.close()
            await connection.wait_closed()
        finally:
            await listener.close()

    run(main())


@pytest.mark.parametrize("webtransport", [False, True])
def test_closing_a_listener_closes_its_connections_and_wakes_accept(webtransport):
    async def main():
        listener = await open_listener(limits=HASTY)
        client = Reader(await dial(listener, webtransport=webtransport))
        await listener.accept()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(accept_refused(listener)) for _ in range(2)]
            await asyncio.sleep(0)
            await listener.close(0x10, "going home")
        assert [task.result() for task in waiting] == [0x10, 0x10]
        closed = await client.until_closed()
        assert (closed.code, closed.reason, closed.remote) == (0x10, "going home", True)
        with pytest.raises(SessionClosed):
            await listener.accept()
        again = await listen(
            *listener.addresses[0], protocols=[PROTOCOL], certificate=identity(), limits=HASTY
        )
        await again.close()

    async def accept_refused(listener) -> int:
        with pytest.raises(SessionClosed) as caught:
            await listener.accept()
        return caught.value.code

    run(main())


@pytest.mark.parametrize("kind", ["quic", "webtransport"])
def test_a_peer_that_vanishes_is_noticed_after_the_idle_time(kind):
    async def main():
        async with pair(kind, idle_timeout=0.3) as both:
            both.listener._endpoint.close()
            closed = await both.client.until_closed()
            assert (closed.lost, closed.remote) == (True, False)
            assert "idle" in closed.reason

    run(main())


@pytest.mark.parametrize("kind", ["quic", "webtransport"])
def test_silence_does_not_end_a_connection_that_both_sides_keep(kind):
    async def main():
        async with pair(kind, idle_timeout=0.15) as both:
            await asyncio.sleep(0.5)
            client = both.client.connection
            client.write(client.open_stream(bidirectional=False), b"still here", fin=True)
            await both.server.until(lambda reader: reader.ended)

    run(main())


def test_dial_that_nobody_answers_asks_again_when_it_is_told_to():
    async def main():
        loop, urge = asyncio.get_running_loop(), Urge()
        assert not urge.now()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.setblocking(False)
            port = silent.getsockname()[1]
            async with asyncio.TaskGroup() as tasks:
                dialling = tasks.create_task(
                    connect("127.0.0.1", port, protocols=[PROTOCOL], webtransport=False, urge=urge)
                )
                # Each pause is twice the one before: the fifth packet would be 1.6 s off.
                for _ in range(4):
                    assert len(await loop.sock_recv(silent, 2048)) >= 1200
                began = loop.time()
                await asyncio.sleep(0.05)
                assert urge.now()
                await loop.sock_recv(silent, 2048)
                took = loop.time() - began
                dialling.cancel()
        assert took < 1.2
        assert not urge.now()

    run(main())


class Foresight:
    """Prepares by counting, and says a word as soon as it may."""

    def __init__(self):
        self.given, self.begun, self.stream = [], [], None

    def __call__(self, connection):
        self.given.append(connection)
        return lambda: self.begin(connection)

    def begin(self, connection):
        self.begun.append(connection)
        stream = connection.open_stream(bidirectional=False)
        connection.write(stream, b"foreseen", fin=True)


@pytest.fixture
def hurried(monkeypatch):
    """The wait for the answer is used at once: there is none to speak of within one machine."""
    monkeypatch.setattr(dialling, "IDLE_AFTER", 0.0)


def test_what_is_prepared_while_nobody_answers_begins_with_the_answer(hurried):
    async def main():
        foresight = Foresight()
        async with listening() as listener:
            client = await dial(listener, foresee=foresight)
            assert foresight.given == foresight.begun == [client]
            server = Reader(await listener.accept())
            await server.until(lambda self: self.ended)
            assert list(server.data.values()) == [b"foreseen"]
            client.close()

    run(main())


def test_a_server_that_prefers_another_protocol_gets_what_was_not_foreseen(hurried):
    async def main():
        foresight = Foresight()
        async with listening() as listener:
            client = await dial(listener, protocols=["moqvox-other", PROTOCOL], foresee=foresight)
            assert client.protocol == PROTOCOL
            assert [each.protocol for each in foresight.given] == ["moqvox-other"]
            assert not foresight.begun
            client.close()

    run(main())


@pytest.mark.parametrize("verify", [Verify.pinned(["00" * 32]), Verify.system()])
def test_nothing_begins_with_a_server_that_is_not_proven(hurried, verify):
    async def main():
        foresight = Foresight()
        async with listening() as listener:
            with pytest.raises(CertificateRefused):
                await dial(listener, verify=verify, foresee=foresight)
        assert foresight.given
        assert not foresight.begun

    run(main())
