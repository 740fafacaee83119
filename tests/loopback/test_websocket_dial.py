"""Dialling over WebSocket: whom to trust, and what is said when it fails."""

import asyncio
import contextlib
import datetime
import socket

import pytest
from tests import aio
from tests.loopback.pairs import (
    PATIENCE,
    PROTOCOL,
    certificate,
    dial_websocket,
    identity,
    open_websocket_listener,
)
from websockets.asyncio.server import serve

from moqvox.errors import LocalError
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import (
    CertificateRefused,
    ConnectFailed,
    HostUnknown,
    NoAnswer,
    NoCommonProtocol,
    PortRefused,
    RequestRefused,
)
from moqvox.transport.websocket import connect_websocket
from moqvox_certs import generate

pytestmark = pytest.mark.net


def with_listener(body, **options):
    async def main() -> None:
        listener = await open_websocket_listener(**options)
        try:
            async with asyncio.timeout(2 * PATIENCE):
                await body(listener)
        finally:
            await listener.close()

    aio.run(main(), virtual=False)


def pinned() -> str:
    return certificate().fingerprint_hex


@pytest.mark.parametrize(
    "verify",
    [
        lambda: Verify.authority(certificate().ca_pem),
        lambda: Verify.pinned([pinned()]),
        lambda: Verify.pinned(["00" * 32, pinned()]),
        Verify.nothing,
    ],
    ids=["authority", "pin", "pins", "nothing"],
)
def test_a_server_that_is_trusted_is_connected_to(verify):
    async def body(listener):
        client = await dial_websocket(listener, verify=verify())
        await listener.accept()
        client.close()
        await client.wait_closed()

    with_listener(body)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"verify": Verify.system()}, "not trusted"),
        ({"verify": Verify.pinned(["00" * 32])}, "not a pinned one"),
        ({"server_name": "elsewhere.example"}, "elsewhere.example"),
    ],
)
def test_a_server_that_is_not_trusted_never_sees_the_request(options, reason):
    async def body(listener):
        with pytest.raises(CertificateRefused, match=reason):
            await dial_websocket(listener, path="/?jwt=secret", **options)
        async with asyncio.timeout(PATIENCE):
            while listener._half_open:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)

    with_listener(body)


def test_a_pinned_certificate_must_be_valid_now():
    old = generate(["localhost"], datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC))

    async def body(listener):
        verify = Verify.pinned([old.fingerprint_hex])
        with pytest.raises(CertificateRefused, match="expired"):
            await dial_websocket(listener, verify=verify)

    with_listener(body, tls=identity().__class__(old.cert_pem, old.key_pem))


def test_roots_and_paths_that_cannot_be_used_are_the_callers_error():
    async def main() -> None:
        options = {"protocols": [PROTOCOL]}
        with pytest.raises(LocalError, match="roots"):
            await connect_websocket("h", 1, verify=Verify.authority(b"none"), **options)
        with pytest.raises(LocalError, match="WebSocket"):
            await connect_websocket("h", 1, path="/a#b", **options)
        with pytest.raises(LocalError, match="no protocol"):
            await connect_websocket("h", 1, protocols=[])

    aio.run(main(), virtual=False)


def test_paths_reach_the_server_as_they_are():
    async def body(listener):
        client = await dial_websocket(listener, path="/a%20b/c?jwt=x.y-z_&k=%26")
        server = await listener.accept()
        assert server.path == client.path == "/a%20b/c?jwt=x.y-z_&k=%26"
        client.close()
        await client.wait_closed()

    with_listener(body)


def test_no_common_protocol_is_told():
    async def body(listener):
        with pytest.raises(NoCommonProtocol, match="400"):
            await dial_websocket(listener, protocols=["moq-lite-99"])

    with_listener(body)


def test_a_server_that_chooses_nothing_is_told():
    async def main() -> None:
        async with serve(lambda socket: socket.wait_closed(), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(NoCommonProtocol, match="chose none"):
                await connect_websocket("127.0.0.1", port, protocols=[PROTOCOL], tls=False)

    aio.run(main(), virtual=False)


def test_where_nothing_listens_is_told():
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        with pytest.raises(PortRefused, match=f"nothing listens on TCP 127.0.0.1:{port}"):
            await connect_websocket("127.0.0.1", port, protocols=[PROTOCOL])
        with pytest.raises(PortRefused):
            await connect_websocket("localhost", port, protocols=[PROTOCOL])
        with pytest.raises(HostUnknown):
            await connect_websocket("nowhere.invalid", 443, protocols=[PROTOCOL])

    aio.run(main(), virtual=False)


@contextlib.asynccontextmanager
async def replying(answer: bytes | None):
    """Listen, and send these bytes to whoever has sent something; None: nothing at all."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            if answer is not None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                writer.close()
            await reader.read()
            writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


HEAD = b"HTTP/1.1 %s\r\nContent-Length: 5\r\n\r\nnope\n"


@pytest.mark.parametrize(
    ("answer", "failure", "words"),
    [
        (HEAD % b"403 Forbidden", RequestRefused, "403: nope"),
        (HEAD % b"404 Not Found", RequestRefused, "404"),
        (HEAD % b"302 Found", RequestRefused, "302"),
        (HEAD % b"400 Bad Request", NoCommonProtocol, "400: nope"),
        (HEAD % b"426 Upgrade Required", NoCommonProtocol, "426"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", ConnectFailed, "gave no WebSocket"),
        (b"HTTP/9 what\r\n\r\n", ConnectFailed, "gave no WebSocket"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000, ConnectFailed, "gave no WebSocket"),
    ],
)
def test_what_is_no_websocket_is_told(answer, failure, words):
    async def main() -> None:
        async with replying(answer) as port:
            with pytest.raises(failure, match=words) as caught:
                await connect_websocket("127.0.0.1", port, protocols=[PROTOCOL], tls=False)
            if isinstance(caught.value, RequestRefused):
                assert str(caught.value.status) in words

    aio.run(main(), virtual=False)


def test_a_server_without_tls_is_told():
    async def main() -> None:
        server = await asyncio.start_server(_say_http, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectFailed, match="no TLS"):
            await connect_websocket("127.0.0.1", port, protocols=[PROTOCOL])
        server.close()

    aio.run(main(), virtual=False)


async def _say_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_that_says_nothing_is_given_up(tls):
    async def main() -> None:
        async with replying(None) as port:
            with pytest.raises(NoAnswer, match=r"0\.1 s"):
                await connect_websocket(
                    "127.0.0.1", port, protocols=[PROTOCOL], tls=tls, timeout=0.1
                )

    aio.run(main(), virtual=False)


def test_a_server_that_hangs_up_is_told():
    async def main() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectFailed, match="closed the connection"):
            await connect_websocket("127.0.0.1", port, protocols=[PROTOCOL], tls=False)
        server.close()

    aio.run(main(), virtual=False)
