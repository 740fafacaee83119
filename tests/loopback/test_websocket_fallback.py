"""Sessions on one port number, over UDP where it gets through and over TCP where not."""

import asyncio
import contextlib
import socket

import pytest
from tests import aio
from tests.loopback.pairs import PATIENCE, certificate, identity
from tests.loopback.websocket_peer import request
from tests.unit.driver.sides import Got, published, read_group, subscribe, write

from moqvox import bound
from moqvox import connect as connecting
from moqvox.connect import connect
from moqvox.errors import SessionCode
from moqvox.listen import listen
from moqvox.model.origin import Origin
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import CertificateRefused, NoAnswer, RequestRefused
from moqvox.transport.interface import Kind
from moqvox.transport.websocket import HttpAnswer
from moqvox.wire.version import LITE_ALPNS

pytestmark = pytest.mark.net


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Give WebTransport less of a head start, and forget what other tests found out."""
    monkeypatch.setattr(connecting, "HEAD_START", 0.05)
    monkeypatch.setattr(connecting, "_without_udp", {})


@contextlib.asynccontextmanager
async def serving(hub: Origin, paths: list[tuple[str, str]], **options):
    """Serve one origin to everybody, on both ports."""
    options = {"websocket": True, **options}
    async with (
        listen("127.0.0.1:0", tls=identity(), **options) as server,
        asyncio.TaskGroup() as tasks,
    ):

        async def accept() -> None:
            async for incoming in server:
                paths.append(await incoming.path())
                incoming.accept(publish=hub, consume=hub)

        accepting = tasks.create_task(accept())
        try:
            yield server
        finally:
            accepting.cancel()


def trust() -> dict[str, object]:
    return {"verify": Verify.authority(certificate().ca_pem), "websocket": True, "timeout": 5.0}


def play(body, **options) -> list[tuple[str, str]]:
    paths: list[tuple[str, str]] = []

    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE):
            async with serving(Origin(), paths, **options) as server:
                await body(server, f"https://127.0.0.1:{server.addresses[0][1]}/room?jwt=t")

    aio.run(main(), virtual=False)
    return paths


@contextlib.contextmanager
def blocked(monkeypatch):
    """Let no UDP through: WebTransport is dialled where nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        port = hole.getsockname()[1]
        original = connecting.connect_quic

        async def into_the_void(host, _port, **options):
            return await original(host, port, **options)

        monkeypatch.setattr(connecting, "connect_quic", into_the_void)
        yield


def test_webtransport_is_preferred_where_udp_gets_through():
    async def body(_, url):
        async with connect(url, **trust()) as driver:
            assert driver.connection.kind is Kind.WEBTRANSPORT
        assert connecting._without_udp == {}

    assert play(body) == [("room", "t")]


@pytest.mark.parametrize("version", LITE_ALPNS)
def test_where_udp_is_blocked_sessions_go_over_tcp(monkeypatch, version):
    async def body(_, url):
        near, far = Origin(), Origin()
        with blocked(monkeypatch):
            where = {"versions": [version], **trust()}
            async with (
                connect(url, publish=near, **where) as sender,
                connect(url, consume=far, **where) as receiver,
            ):
                assert {sender.connection.kind, receiver.connection.kind} == {Kind.WEBSOCKET}
                assert sender.session.version == version
                _, audio = published(near)
                reader = await subscribe(far)
                write(audio, b"one", b"two")
                got = Got()
                await read_group(got, await anext(aiter(reader)))
                assert got.payloads == [b"one", b"two"]
                reader.close()

    assert play(body) == [("room", "t")] * 2


def test_what_won_is_tried_first_next_time(monkeypatch):
    async def body(server, url):
        loop = asyncio.get_running_loop()
        where = server.addresses[0]
        with blocked(monkeypatch):
            async with connect(url, **trust()):
                assert list(connecting._without_udp) == [where]
            monkeypatch.setattr(connecting, "HEAD_START", 5.0)
            began = loop.time()
            async with connect(url, **trust()) as driver:
                assert driver.connection.kind is Kind.WEBSOCKET
                assert loop.time() - began < 2.0

    play(body)


def test_what_is_remembered_ages(monkeypatch):
    async def body(server, url):
        with monkeypatch.context() as patches, blocked(patches):
            async with connect(url, **trust()):
                pass
        monkeypatch.setattr(connecting, "HEAD_START", 5.0)
        connecting._without_udp[server.addresses[0]] -= connecting.REMEMBERED_S
        async with connect(url, **trust()) as driver:
            assert driver.connection.kind is Kind.WEBTRANSPORT
        assert connecting._without_udp == {}

    play(body)


def test_the_way_over_tcp_is_told_once(monkeypatch, caplog):
    async def body(_, url):
        with blocked(monkeypatch):
            for _ in range(2):
                async with connect(url, **trust()):
                    pass

    play(body)
    assert caplog.text.count("going on over WebSocket") == 1


def test_wss_is_websocket_although_udp_gets_through():
    async def body(_, url):
        async with connect(url.replace("https", "wss"), **trust()) as driver:
            assert driver.connection.kind is Kind.WEBSOCKET

    assert play(body) == [("room", "t")]


def test_what_is_remembered_is_bounded():
    for number in range(2 * connecting.MAX_REMEMBERED):
        connecting._remember(("host", number), Kind.WEBSOCKET, 1.0)
    assert len(connecting._without_udp) == connecting.MAX_REMEMBERED
    newest = ("host", 2 * connecting.MAX_REMEMBERED - 1)
    assert newest in connecting._without_udp
    connecting._remember(newest, Kind.WEBTRANSPORT, 1.0)
    assert newest not in connecting._without_udp


def test_raw_quic_has_no_fallback(monkeypatch):
    async def body(_, url):
        with blocked(monkeypatch), pytest.raises(NoAnswer, match="UDP"):
            async with connect(url.replace("https", "moqt"), **{**trust(), "timeout": 0.2}):
                pass

    play(body)


def test_without_leave_there_is_no_fallback(monkeypatch):
    async def body(_, url):
        options = {**trust(), "websocket": False, "timeout": 0.2}
        with blocked(monkeypatch), pytest.raises(NoAnswer, match="UDP"):
            async with connect(url, **options):
                pass

    play(body)


@pytest.mark.parametrize("udp", [True, False])
def test_a_certificate_that_is_not_trusted_is_not_trusted_on_either_way(monkeypatch, udp):
    async def body(_, url):
        options = {**trust(), "verify": Verify.pinned(["00" * 32])}
        with contextlib.nullcontext() if udp else blocked(monkeypatch):
            if not udp:
                options["timeout"] = 0.5
            with pytest.raises(CertificateRefused):
                async with connect(url, **options):
                    pass

    play(body)


def test_plain_requests_on_the_port_are_the_applications():
    async def body(server, _):
        host = server.addresses[0]
        listener = type("Where", (), {"addresses": [host]})
        text = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await request(listener, text))[::2] == (200, b"ok\n")
        assert (await request(listener, text, secure=True))[::2] == (200, b"ok\n")

    play(body, http=lambda asked: HttpAnswer(b"ok\n") if asked.path == "/health" else None)


def test_a_session_that_is_rejected_hears_why(monkeypatch):
    async def main() -> None:
        async with listen("127.0.0.1:0", tls=identity(), websocket=True) as server:
            url = f"https://127.0.0.1:{server.addresses[0][1]}/"
            async with asyncio.timeout(PATIENCE):
                with blocked(monkeypatch):
                    async with connect(url, **trust()) as driver:
                        (await anext(aiter(server))).reject()
                        closed = await driver.wait_closed()
                        assert closed.code == SessionCode.UNAUTHORIZED
                        assert (closed.reason, closed.remote) == ("unauthorized", True)

    aio.run(main(), virtual=False)


def test_a_tcp_port_that_is_taken_is_told_and_udp_serves_on(caplog):
    async def main() -> int:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            bind = f"127.0.0.1:{port}"
            async with listen(bind, tls=identity(), websocket=True) as server:
                assert server.addresses == [("127.0.0.1", port)]
                assert not server.tcp_addresses
        async with listen(bind, tls=identity(), websocket=True) as server:
            assert server.tcp_addresses == server.addresses == [("127.0.0.1", port)]
        return port

    port = aio.run(main(), virtual=False)
    assert f"cannot listen on TCP 127.0.0.1 port {port}" in caplog.text


def test_a_port_of_its_choice_is_free_over_tcp_as_well(monkeypatch):
    """Over UDP it is told one number after the other, the first two of which are taken."""

    async def main() -> None:
        with contextlib.ExitStack() as held:
            taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            ports = [sock.getsockname()[1] for sock in taken]
            original = bound.listen_quic

            async def unlucky(host, port, **options):
                return await original(host, ports.pop(0) if ports else port, **options)

            monkeypatch.setattr(bound, "listen_quic", unlucky)
            async with listen("127.0.0.1:0", tls=identity(), websocket=True) as server:
                assert server.tcp_addresses == server.addresses
                assert not ports

    aio.run(main(), virtual=False)


def test_a_port_for_plain_requests_alone_takes_no_websocket():
    async def body(server, url):
        listener = type("Where", (), {"addresses": server.tcp_addresses})
        text = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await request(listener, text))[::2] == (200, b"ok\n")
        with pytest.raises(RequestRefused, match="no WebSockets here"):
            async with connect(url.replace("https", "wss"), **trust()):
                pass

    play(body, websocket=False, http=lambda _: HttpAnswer(b"ok\n"))
