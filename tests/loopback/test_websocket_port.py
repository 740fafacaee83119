"""One TCP port: TLS or not, WebSocket or plain HTTP, and those who want neither."""

import asyncio
import contextlib
import logging
import socket

import pytest
from tests import aio
from tests.loopback.pairs import PATIENCE, PROTOCOL, dial_websocket, identity
from tests.loopback.websocket_peer import request, strange
from websockets.exceptions import InvalidStatus

from moqvox.errors import LocalError
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.failures import HostUnknown
from moqvox.transport.websocket import HttpAnswer, HttpRequest, Limits, listen_websocket
from moqvox.transport.websocket.greeting import Greeting

pytestmark = pytest.mark.net

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answer(asked: HttpRequest) -> HttpAnswer | None:
    if asked.path == "/health":
        return HttpAnswer(b"ok\n")
    if asked.path.startswith("/page"):
        body = f"{asked.path} {asked.headers['host']} {asked.is_secure}".encode()
        return HttpAnswer(body, "text/html", headers=(("Cache-Control", "no-store"),))
    if asked.path == "/switch":
        return HttpAnswer(asked.method.encode())
    if asked.path == "/large":
        return HttpAnswer(bytes(3_000_000))
    if asked.path == "/bug":
        raise RuntimeError("a bug")
    return None


def serve(body, **options):
    async def main() -> None:
        options.setdefault("tls", identity())
        listener = await listen_websocket(
            "127.0.0.1",
            0,
            protocols=[PROTOCOL],
            http=options.pop("http", answer),
            limits=Limits(linger=0.05, **options.pop("limits", {})),
            **options,
        )
        try:
            async with asyncio.timeout(2 * PATIENCE):
                await body(listener)
        finally:
            await listener.close()

    aio.run(main(), virtual=False)


@pytest.mark.parametrize("secure", [False, True])
def test_plain_requests_are_answered_with_and_without_tls(secure):
    async def body(listener):
        (first, headers, page), again = [
            await request(listener, GET % b"/health", secure=secure) for _ in range(2)
        ]
        assert (first, page) == (200, b"ok\n")
        # The second may have begun meanwhile.
        assert again == (200, headers | {"date": again[1]["date"]}, page)
        status, headers, page = await request(listener, GET % b"/page?x=1", secure=secure)
        assert (status, page) == (200, f"/page?x=1 localhost {secure}".encode())
        assert headers["content-type"] == "text/html"
        assert headers["content-length"] == str(len(page))
        assert headers["cache-control"] == "no-store"
        assert headers["connection"] == "close"
        assert "server" not in headers
        status, _, large = await request(listener, GET % b"/large", secure=secure)
        assert (status, len(large)) == (200, 3_000_000)

    serve(body)


def test_websockets_are_served_besides_on_the_same_port():
    async def body(listener):
        client = await dial_websocket(listener)
        await listener.accept()
        assert (await request(listener, GET % b"/health"))[0] == 200
        assert (await request(listener, GET % b"/health", secure=True))[0] == 200
        async with strange(listener, secure=False):
            await listener.accept()
        client.close()
        await client.wait_closed()

    serve(body)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (GET % b"/nothing", 404),
        (b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"DELETE /health HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 9000), 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 426),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 400),
        (b"POST /switch HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 0),
        (b"nonsense\r\n\r\n", 0),
        (b"\x00\x01\x02", 0),
    ],
)
def test_other_requests_get_a_fitting_answer_or_none(text, status):
    async def body(listener):
        found, _, content = await _request_or_nothing(listener, text)
        assert found == status
        if text.startswith(b"HEAD"):
            assert content == b""

    # Who is answered nothing waits for the end of its time.
    serve(body, limits={} if status else {"handshake_timeout": 0.2})


async def _request_or_nothing(listener, text):
    try:
        return await request(listener, text)
    except ConnectionError:
        return 0, {}, b""


def test_a_bug_in_the_application_is_answered_and_logged(caplog):
    async def body(listener):
        assert (await request(listener, GET % b"/bug"))[0] == 500
        assert (await request(listener, GET % b"/health"))[0] == 200

    with caplog.at_level(logging.ERROR):
        serve(body)
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_without_an_application_nothing_is_found():
    async def body(listener):
        assert (await request(listener, GET % b"/health"))[0] == 404

    serve(body, http=None)


def test_tokens_and_payloads_are_not_logged(caplog):
    async def body(listener):
        client = await dial_websocket(listener, path="/room?jwt=secret")
        server = await listener.accept()
        stream = client.open_stream(bidirectional=False)
        client.write(stream, b"payload", fin=True)
        await server.events()
        client.close()
        await client.wait_closed()
        await request(listener, GET % b"/page?jwt=secret")

    with caplog.at_level(logging.DEBUG):
        serve(body)
    assert "accepted" in caplog.text
    assert "secret" not in caplog.text
    assert "payload" not in caplog.text


def test_a_head_that_does_not_end_is_cut_off():
    async def body(listener):
        host, port = listener.addresses[0]
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.suppress(ConnectionError):
            for number in range(1000):
                writer.write(b"GET / HTTP/1.1\r\n" if not number else b"X: %s\r\n" % (b"y" * 1000))
                await writer.drain()
            assert await reader.read() == b""
        assert reader.at_eof() or writer.is_closing()
        writer.close()

    serve(body)


@pytest.mark.parametrize("beginning", [b"", b"\x16", b"\x16\x03\x01\x01\x00", b"GET / HT"])
def test_those_who_dawdle_are_dropped(beginning):
    async def body(listener):
        host, port = listener.addresses[0]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(beginning)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert not listener._half_open

    serve(body, limits={"handshake_timeout": 0.05})


def test_a_websocket_without_parameters_is_dropped():
    async def body(listener):
        async with strange(listener, hello=None) as stranger:
            assert await stranger.until_closed() == 1006
        assert not listener._half_open

    serve(body, limits={"handshake_timeout": 0.2})


def test_what_is_no_tls_after_all_is_closed():
    async def body(listener):
        host, port = listener.addresses[0]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"\x16\x03\x01\x00\x05hello" * 10)
        with contextlib.suppress(ConnectionError):
            alert = await reader.read()
            assert alert[:1] in (b"\x15", b"")
        writer.close()

    serve(body)


def test_an_answer_that_nobody_reads_is_given_up():
    async def body(listener):
        host, port = listener.addresses[0]
        reader, writer = await asyncio.open_connection(host, port, limit=1)
        writer.write(GET % b"/large")
        await asyncio.sleep(0.2)
        assert not listener._half_open
        read = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                read += len(data)
        assert read < 3_000_000
        writer.close()

    serve(body, limits={"answer_timeout": 0.1})


def test_half_open_clients_are_bounded():
    async def body(listener):
        host, port = listener.addresses[0]
        idlers = [await asyncio.open_connection(host, port) for _ in range(3)]
        with contextlib.suppress(ConnectionError):
            assert await idlers[2][0].read() == b""
        assert len(listener._half_open) == 2
        for _, writer in idlers:
            writer.close()
        async with asyncio.timeout(PATIENCE):
            while listener._half_open:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        assert (await request(listener, GET % b"/health"))[0] == 200

    serve(body, limits={"max_half_open": 2})


def test_connections_are_bounded_and_make_room_when_they_end():
    async def body(listener):
        first = await dial_websocket(listener)
        await listener.accept()
        with pytest.raises(OSError):  # noqa: PT011  # a reset or a plain end, as it happens
            await _refuse_empty(listener)
        first.close()
        await first.wait_closed()
        await (await _closed_soon(listener)).wait_closed()

    serve(body, limits={"max_connections": 1})


async def _refuse_empty(listener) -> None:
    if (await request(listener, GET % b"/health"))[0] == 0:
        raise ConnectionResetError


async def _closed_soon(listener):
    """Dial as soon as there is room again, and close."""
    async with asyncio.timeout(PATIENCE):
        while listener._connections:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
    client = await dial_websocket(listener)
    client.close()
    return client


def test_more_than_may_wait_for_accept_are_refused(caplog):
    async def body(listener):
        first = await dial_websocket(listener)
        second = await dial_websocket(listener)
        await second.wait_closed()
        assert (await second.events())[-1].reason == "busy"
        first.close()
        await first.wait_closed()

    serve(body, limits={"max_unaccepted": 1})
    assert "too many wait for accept" in caplog.text


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
def test_plain_websockets_are_for_this_machine_when_there_is_tls(monkeypatch, host, is_here):
    made = []
    original = Greeting._upgrade

    def from_elsewhere(self, head):
        made.append(self)
        self.pipe.remote_host = host
        original(self, head)

    monkeypatch.setattr(Greeting, "_upgrade", from_elsewhere)

    async def body(listener):
        async with strange(listener):  # over TLS from anywhere
            await listener.accept()
        if is_here:
            async with strange(listener, secure=False):
                await listener.accept()
            return
        with pytest.raises(InvalidStatus) as caught:
            async with strange(listener, secure=False):
                pass
        assert caught.value.response.status_code == 403
        assert b"wss://" in caught.value.response.body

    serve(body)
    assert len(made) == 2


def test_without_a_certificate_everyone_may_come_without_tls(monkeypatch):
    monkeypatch.setattr(Greeting, "_is_neighbour", lambda _: False)

    async def body(listener):
        async with strange(listener, secure=False):
            await listener.accept()
        assert (await request(listener, GET % b"/health"))[0] == 200
        with contextlib.suppress(ConnectionError):
            assert (await request(listener, b"\x16\x03\x01\x00\x05hello"))[0] == 0

    serve(body, tls=None, limits={"handshake_timeout": 0.1})


@pytest.mark.parametrize("host", ["", "::", "localhost"])
def test_every_address_of_a_host_has_the_same_port(host):
    async def main() -> None:
        listener = await listen_websocket(host, 0, protocols=[PROTOCOL], tls=None, http=answer)
        try:
            ports = {port for _, port in listener.addresses}
            assert len(ports) == 1
            for address in ("127.0.0.1", "::1") if host != "localhost" else ("localhost",):
                reader, writer = await asyncio.open_connection(address, *ports)
                writer.write(GET % b"/health")
                assert (await reader.read()).endswith(b"ok\n")
                writer.close()
        finally:
            await listener.close()

    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    aio.run(main(), virtual=False)


def test_what_cannot_be_listened_on_is_the_callers_error():
    async def main() -> None:
        listener = await listen_websocket("127.0.0.1", 0, protocols=[PROTOCOL], tls=None)
        host, port = listener.addresses[0]
        with pytest.raises(LocalError, match=f"TCP {host} port {port}: address already in use"):
            await listen_websocket(host, port, protocols=[PROTOCOL], tls=None)
        await listener.close()
        again = await listen_websocket(host, port, protocols=[PROTOCOL], tls=None)
        await again.close()
        with pytest.raises(LocalError, match="no protocol"):
            await listen_websocket("127.0.0.1", 0, protocols=[], tls=None)
        with pytest.raises(LocalError, match="certificate or key"):
            await listen_websocket(
                "127.0.0.1", 0, protocols=[PROTOCOL], tls=ServerCertificate(b"", b"")
            )
        with pytest.raises(HostUnknown):
            await listen_websocket("nowhere.invalid", 0, protocols=[PROTOCOL], tls=None)

    aio.run(main(), virtual=False)
