"""The operators' HTTP beside the relay's UDP port, asked well and badly."""

import asyncio
import socket

import pytest
from tests import aio
from tests.loopback.relays import running, until

pytestmark = pytest.mark.net


async def ask(port, text, host="127.0.0.1"):
    """Send bytes over TCP and return all that comes back."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(text)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def answers(*requests, **options):
    async def main():
        async with running(http=True, **options) as relay:
            port = relay.where.addresses[0][1]
            return relay.where.fingerprint, [await ask(port, each) for each in requests]

    return aio.run(main(), sockets=True)


def test_fingerprint_health_and_metrics_are_told_to_pages_of_any_origin():
    fingerprint, found = answers(
        get("/certificate.sha256"), get("/health?x=1"), get("/metrics"), get("/other")
    )
    heads, bodies = zip(*(each.split(b"\r\n\r\n", 1) for each in found), strict=True)
    statuses = [int(head.split()[1]) for head in heads]
    assert statuses == [200, 200, 200, 404]
    assert bodies[:2] == (fingerprint.encode(), b"ok\n")
    rows = dict(line.split() for line in bodies[2].decode().splitlines())
    assert rows["moqvox_relay_sessions"] == "0"
    assert set(rows) >= {"moqvox_relay_cache_bytes", "moqvox_relay_upstream_up"}
    assert all(b"access-control-allow-origin: *" in head.lower() for head in heads[:3])


BAD = {
    "nonsense": b"\x00\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "no TLS after all": b"\x16\x03\x01\x00\x05hello",
    "another method": b"POST /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "an old version": b"GET /health HTTP/0.9\r\n\r\n",
    "a long line": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
    "an upgrade": b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}


def test_bad_requests_get_an_error_or_nothing_and_leave_no_noise(caplog):
    async def main():
        async with running(http=True) as relay:
            port = relay.where.addresses[0][1]
            heard = []
            for bad in BAD.values():
                try:
                    heard.append(await ask(port, bad))
                except ConnectionError:
                    heard.append(b"")
            return heard, await ask(port, get("/health"))

    heard, after = aio.run(main(), sockets=True)
    assert after.startswith(b"HTTP/1.1 200")
    statuses = [answer.split(b" ")[1] for answer in heard if answer.startswith(b"HTTP")]
    assert b"101" not in statuses
    assert "Traceback" not in caplog.text
    assert not [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no dual stack here")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_wildcard_address_answers_on_both_families(host):
    async def main():
        async with running(http=True, bind="[::]:0") as relay:
            port = relay.where.addresses[0][1]
            return await ask(port, get("/health"), host)

    assert aio.run(main(), sockets=True).endswith(b"ok\n")


def test_port_taken_over_tcp_is_a_warning_only(caplog):
    async def main():
        async with running(http=False) as probe:
            port = probe.where.addresses[0][1]
        with socket.create_server(("127.0.0.1", port)):
            async with running(http=True, bind=f"127.0.0.1:{port}") as relay:
                await until(relay.started.is_set)
                assert not relay.where.tcp
            return port

    port = aio.run(main(), sockets=True)
    assert f"no HTTP: cannot listen on TCP 127.0.0.1 port {port}" in caplog.text
