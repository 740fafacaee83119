"""WebTransport as it is on the wire, and what breaks it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests import aio
from tests.loopback.http3_peer import (
    CONTROL,
    DATA,
    DECODER,
    ENCODER,
    HEADERS,
    PUSH,
    SETTINGS,
    Browser,
    browsing,
    connect_request,
    fields,
    frame,
    read_fields,
    read_frames,
)
from tests.loopback.pairs import HASTY, PROTOCOL, Reader, dial, open_listener, pair

from moqvox.transport.aioquic.varint import encode_varint, pull_varint
from moqvox.transport.failures import ConnectFailed, NoCommonProtocol, RequestRefused
from moqvox.transport.interface import Closed

pytestmark = pytest.mark.net

UNI, BIDI = 0x54, 0x41
FIRST_CODE = 0x52E4A40FA8DB
PAGE = fields((":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/"))


def browse(body: Callable[..., Awaitable[None]]) -> None:
    async def main() -> None:
        async with browsing() as (browser, listener):
            await body(browser, listener)

    aio.run(main(), sockets=True)


def test_our_settings_are_those_that_shipping_peers_look_for():
    async def body(browser, listener):
        await browser.reader.until(lambda reader: len(reader.data) == 3)
        first = {data[0]: bytes(data[1:]) for data in browser.reader.data.values()}
        assert sorted(first) == [CONTROL, ENCODER, DECODER]
        kind, payload = read_frames(first[CONTROL])[0]
        assert kind == 4
        settings, offset = {}, 0
        while offset < len(payload):
            key, offset = pull_varint(payload, offset)
            settings[key], offset = pull_varint(payload, offset)
        assert settings == {
            0x1: 0,  # QPACK dynamic table
            0x6: 16384,  # field section
            0x7: 0,  # blocked streams
            0x8: 1,  # extended CONNECT
            0x33: 1,  # datagrams
            0x2B603742: 1,  # draft 02
            0xC671706A: 1,  # draft 07
            0x14E9CD29: 1,  # draft 13
            0x2C7CF000: 1,  # draft 15
        }

    browse(body)


def test_a_browsers_request_gets_its_session():
    async def body(browser, listener):
        browser.greet()
        stream = browser.bidi(
            connect_request(
                ("sec-webtransport-http3-draft02", "1"),
                ("origin", "https://example.org"),
                protocols=f'"moq-00", "{PROTOCOL}";q=1',
                path="/room?token=1",
            )
        )
        assert await browser.answer(stream) == {
            ":status": "200",
            "wt-protocol": f'"{PROTOCOL}"',
            "sec-webtransport-http3-draft": "draft02",
        }
        server = await listener.accept()
        assert (server.path, server.origin, server.protocol) == (
            "/room?token=1",
            "https://example.org",
            PROTOCOL,
        )

    browse(body)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (
            fields((":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")),
            "404",
        ),
        (connect_request(protocol="websocket"), "404"),
        (connect_request(protocols='"moq-99"'), "406"),
        (connect_request(protocols=None), "406"),
        (connect_request(protocols='"moq-lite-06'), "406"),
    ],
    ids=["get", "websocket", "other protocol", "no protocol", "malformed list"],
)
def test_other_requests_are_answered_and_leave_the_connection_alone(request_bytes, status):
    async def body(browser, listener):
        browser.greet()
        stream = browser.bidi(request_bytes)
        assert await browser.answer(stream) == {":status": status}
        again = browser.bidi(connect_request(protocol="webtransport-h3"))
        assert (await browser.answer(again))[":status"] == "200"

    browse(body)


def test_a_connection_has_one_session():
    async def body(browser, listener):
        await browser.open_session()
        second = browser.bidi(connect_request())
        assert await browser.answer(second) == {":status": "429"}

    browse(body)


def test_a_client_that_asks_for_nothing_but_pages_is_sent_away():
    async def body(browser, listener):
        browser.greet()
        for _ in range(101):
            browser.bidi(PAGE, fin=True)
        assert (await browser.until_closed()).code == 0x107

    browse(body)


def test_streams_that_overtake_their_session_wait_for_it():
    async def body(browser, listener):
        browser.greet()
        early = browser.uni(UNI, encode_varint(0) + b"early", fin=True)
        cut = browser.uni(UNI)
        await asyncio.sleep(0.02)
        assert browser.bidi(connect_request()) == 0
        browser.connection.write(cut, encode_varint(0) + b"late", fin=True)
        server = Reader(await listener.accept())
        await server.until(lambda reader: {early, cut} <= reader.ended)
        assert (server.data[early], server.data[cut]) == (b"early", b"late")

    browse(body)


def test_more_streams_than_may_wait_are_rejected():
    async def body(browser, listener):
        browser.greet()
        for _ in range(33):
            browser.uni(UNI, encode_varint(0) + b"early")
        await browser.reader.until(lambda reader: reader.stops)
        assert list(browser.reader.stops.values()) == [0x3994BD84]

    browse(body)


def test_streams_and_datagrams_of_another_session_do_not_get_in():
    async def body(browser, listener):
        await browser.open_session()
        server = Reader(await listener.accept())
        uni = browser.uni(UNI, encode_varint(4) + b"stray")
        bidi = browser.bidi(encode_varint(BIDI) + encode_varint(8) + b"stray")
        browser.connection.send_datagram(encode_varint(7) + b"stray")
        browser.connection.send_datagram(encode_varint(0) + b"ours")
        await browser.reader.until(lambda reader: {uni, bidi} <= set(reader.stops))
        assert browser.reader.stops == {uni: 0x170D7B68, bidi: 0x170D7B68}
        await server.until(lambda reader: reader.datagrams)
        assert server.datagrams == [b"ours"]
        assert server.opened == {}

    browse(body)


def test_resets_carry_mapped_codes_and_foreign_ones_become_zero():
    async def body(browser, listener):
        await browser.open_session()
        server = Reader(await listener.accept())
        prefix = encode_varint(0) + b"x"
        mapped, foreign = (browser.uni(UNI, prefix) for _ in range(2))
        await server.until(lambda reader: {mapped, foreign} <= set(reader.data))
        browser.connection.reset(mapped, FIRST_CODE + 33 + 33 // 30)
        browser.connection.reset(foreign, 0x10C)
        await server.until(lambda reader: {mapped, foreign} <= set(reader.resets))
        assert server.resets == {mapped: 33, foreign: 0}
        ours = server.connection.open_stream(bidirectional=False)
        server.connection.write(ours, b"y")
        await browser.reader.until(lambda reader: ours in reader.data)
        assert browser.reader.data[ours] == encode_varint(UNI) + encode_varint(0) + b"y"
        server.connection.reset(ours, 7)
        await browser.reader.until(lambda reader: ours in reader.resets)
        assert browser.reader.resets[ours] == FIRST_CODE + 7

    browse(body)


def close_capsule(code: int, reason: bytes) -> bytes:
    value = code.to_bytes(4, "big") + reason
    return encode_varint(0x2843) + encode_varint(len(value)) + value


def test_a_close_capsule_ends_the_session_whatever_comes_before_it():
    async def body(browser, listener):
        session = await browser.open_session()
        server = Reader(await listener.accept())
        grease = encode_varint(0x29 * 7 + 0x17) + encode_varint(20_000) + bytes(20_000)
        drain = encode_varint(0x78AE) + b"\0"
        capsules = grease + drain + close_capsule(4242, "ciao è".encode())
        for start in range(0, len(capsules), 3000):
            browser.connection.write(session, frame(DATA, capsules[start : start + 3000]))
        assert await server.until_closed() == Closed(4242, "ciao è", remote=True)
        assert (await browser.until_closed()).code == 0x100

    browse(body)


def test_the_end_of_the_sessions_stream_is_a_close_without_a_code():
    async def body(browser, listener):
        session = await browser.open_session()
        server = Reader(await listener.accept())
        browser.connection.write(session, b"", fin=True)
        assert await server.until_closed() == Closed(0, "", remote=True)

    browse(body)


def test_a_reset_of_the_sessions_stream_ends_it():
    async def body(browser, listener):
        session = await browser.open_session()
        server = Reader(await listener.accept())
        browser.connection.reset(session, 0x10C)
        closed = await server.until_closed()
        assert (closed.code, closed.remote) == (0, True)

    browse(body)


def test_our_close_is_a_capsule_and_leaves_the_end_of_the_connection_to_the_client():
    async def body(browser, listener):
        session = await browser.open_session()
        server = Reader(await listener.accept())
        server.connection.close(77, "lunch")
        await browser.reader.until(lambda reader: session in reader.ended)
        # Chromium answers like this before it has acted on the capsule.
        browser.connection.write(session, b"", fin=True)
        while not browser.connection.settled(session):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        again = browser.bidi(connect_request())
        assert await browser.answer(again) == {":status": "429"}  # so the connection lives on
        browser.connection.close(0x100)
        assert (await browser.until_closed()).remote is False
        assert await server.until_closed() == Closed(77, "lunch")
        answer, capsule = read_frames(bytes(browser.reader.data[session]))
        assert answer[0] == HEADERS
        assert capsule == (DATA, close_capsule(77, b"lunch"))

    browse(body)


@pytest.mark.parametrize("answers", [False, True])
def test_a_client_that_does_not_end_the_connection_is_left_all_the_same(monkeypatch, answers):
    monkeypatch.setattr("moqvox.transport.aioquic.closing.ANSWER_LINGER", 0.1)

    async def body(browser, listener):
        session = await browser.open_session()
        (await listener.accept()).close(77, "lunch")
        await browser.reader.until(lambda reader: session in reader.ended)
        if answers:
            browser.connection.write(session, b"", fin=True)
        assert (await browser.until_closed()).code == 0x100

    browse(body)


async def _second_control(browser: Browser) -> None:
    browser.uni(CONTROL, SETTINGS)
    browser.uni(CONTROL, SETTINGS)


async def _settings_twice(browser: Browser) -> None:
    browser.uni(CONTROL, SETTINGS + SETTINGS)


async def _no_settings(browser: Browser) -> None:
    browser.uni(CONTROL, frame(0x7, b"\0"))


async def _control_ends(browser: Browser) -> None:
    browser.uni(CONTROL, SETTINGS, fin=True)


async def _control_reset(browser: Browser) -> None:
    stream = browser.uni(CONTROL, SETTINGS)
    await asyncio.sleep(0.01)
    browser.connection.reset(stream, 0x10C)


async def _our_control_stopped(browser: Browser) -> None:
    await browser.reader.until(lambda reader: len(reader.opened) == 3)
    browser.connection.stop(min(browser.reader.opened), 0)


async def _push(browser: Browser) -> None:
    browser.uni(PUSH)


async def _http2_frame(browser: Browser) -> None:
    browser.bidi(frame(0x2, b""))


async def _http2_setting(browser: Browser) -> None:
    browser.uni(CONTROL, frame(4, b"\x02\x00"))


async def _bad_setting(browser: Browser) -> None:
    browser.uni(CONTROL, frame(4, b"\x33\x02"))


async def _data_first(browser: Browser) -> None:
    browser.bidi(frame(DATA, b"x"))


async def _huge_section(browser: Browser) -> None:
    browser.bidi(encode_varint(HEADERS) + encode_varint(100_000))


async def _many_fields(browser: Browser) -> None:
    browser.bidi(connect_request(*((f"x{number}", "y") for number in range(64))))


async def _wide_fields(browser: Browser) -> None:
    browser.bidi(frame(HEADERS, b"\0\0" + b"\xd9" * 8000))  # one static entry, 8000 times


async def _table_insertion(browser: Browser) -> None:
    browser.uni(ENCODER, b"\x3f\xe1\x1f")  # Set Dynamic Table Capacity 4096


async def _table_reference(browser: Browser) -> None:
    browser.bidi(frame(HEADERS, b"\x02\x00\x80"))


async def _malformed_request(browser: Browser) -> None:
    browser.bidi(fields((":method", "CONNECT"), (":path", "/"), (":scheme", "https")))


async def _truncated_frame(browser: Browser) -> None:
    browser.bidi(encode_varint(HEADERS) + encode_varint(10) + b"x", fin=True)


async def _huge_capsule(browser: Browser) -> None:
    session = await browser.open_session()
    capsule = encode_varint(0x2843) + encode_varint(1 << 20)
    browser.connection.write(session, frame(DATA, capsule))


async def _short_capsule(browser: Browser) -> None:
    session = await browser.open_session()
    browser.connection.write(session, frame(DATA, encode_varint(0x2843) + b"\x01x"))


async def _empty_datagram(browser: Browser) -> None:
    browser.connection.send_datagram(b"")


async def _early_end_of_encoder(browser: Browser) -> None:
    browser.uni(ENCODER, fin=True)


async def _early_end_of_decoder(browser: Browser) -> None:
    browser.uni(DECODER, fin=True)


@pytest.mark.parametrize(
    ("offence", "code"),
    [
        (_second_control, 0x103),
        (_settings_twice, 0x105),
        (_no_settings, 0x10A),
        (_control_ends, 0x104),
        (_control_reset, 0x104),
        (_our_control_stopped, 0x104),
        (_early_end_of_encoder, 0x104),
        (_early_end_of_decoder, 0x104),
        (_push, 0x108),
        (_http2_frame, 0x105),
        (_http2_setting, 0x109),
        (_bad_setting, 0x109),
        (_data_first, 0x105),
        (_huge_section, 0x107),
        (_many_fields, 0x107),
        (_wide_fields, 0x107),
        (_table_insertion, 0x201),
        (_table_reference, 0x200),
        (_malformed_request, 0x10E),
        (_truncated_frame, 0x106),
        (_huge_capsule, 0x10E),
        (_short_capsule, 0x10E),
        (_empty_datagram, 0x33),
    ],
)
def test_who_breaks_http3_is_told_which_rule(offence, code):
    async def body(browser, listener):
        await offence(browser)
        assert (await browser.until_closed()).code == code

    browse(body)


def test_streams_of_unknown_types_are_stopped_and_no_more():
    async def body(browser, listener):
        strange = browser.uni(0x21, bytes(1000))
        browser.uni(0x40 + 0x1F * 3, b"", fin=True)
        await browser.open_session()
        await browser.reader.until(lambda reader: strange in reader.stops)
        assert browser.reader.stops == {strange: 0x103}

    browse(body)


def test_finished_streams_leave_nothing_behind():
    async def body(browser, listener):
        await browser.open_session()
        server = Reader(await listener.accept())
        for number in range(200):
            stream = browser.bidi(encode_varint(BIDI) + b"\0?", fin=True)
            await server.until(lambda reader: stream in reader.ended)  # noqa: B023
            server.connection.write(stream, b"!", fin=True)
            if number % 20 == 19:
                await browser.reader.until(lambda reader: stream in reader.ended)  # noqa: B023
        await asyncio.sleep(0.05)
        connection = server.connection
        arrivals = connection._arrivals
        held = (connection._joined, connection._known, connection._ours)
        held += (arrivals._heads, arrivals._early)
        assert [len(names) for names in held] == [0, 0, 0, 0, 0]
        assert len(connection._http) == 2
        assert len(connection._link.table) == 5

    browse(body)


def serve_h3(answer: Callable[[Reader], Awaitable[None]]):
    """Dial, as WebTransport, a server that is scripted: what `connect` makes of it."""

    async def main() -> None:
        listener = await open_listener(protocols=["h3"], webtransport=False, limits=HASTY)
        try:
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                dialling = group.create_task(dial_out(listener))
                server = Reader(await listener.accept())
                await answer(server)
                failure = await dialling
        finally:
            await listener.close()
        raise failure

    async def dial_out(listener) -> Exception:
        with pytest.raises(ConnectFailed) as caught:
            await dial(listener, webtransport=True)
        return caught.value

    aio.run(main(), sockets=True)


def send_settings(server: Reader, payload: bytes) -> None:
    stream = server.connection.open_stream(bidirectional=False)
    server.connection.write(stream, encode_varint(CONTROL) + frame(4, payload))


def webtransport_settings() -> bytes:
    return b"\x08\x01\x33\x01" + encode_varint(0x2B603742) + b"\x01"


def test_a_server_without_webtransport_is_told_apart():
    async def answer(server):
        send_settings(server, b"\x33\x01")

    with pytest.raises(ConnectFailed, match="takes no WebTransport"):
        serve_h3(answer)


@pytest.mark.parametrize("status", ["404", "401", "503"])
def test_a_refusal_names_the_status(status):
    async def answer(server):
        send_settings(server, webtransport_settings())
        await server.until(lambda reader: 0 in reader.data)
        request = read_fields(bytes(server.data[0]))
        assert (request[":method"], request[":protocol"]) == ("CONNECT", "webtransport")
        assert request["wt-available-protocols"] == f'"{PROTOCOL}"'
        server.connection.write(0, fields((":status", status)), fin=True)

    with pytest.raises(RequestRefused, match=status) as caught:
        serve_h3(answer)
    assert caught.value.status == int(status)


@pytest.mark.parametrize("extra", [(), (("wt-protocol", '"moq-99"'),), (("wt-protocol", "x y"),)])
def test_a_session_without_a_protocol_that_was_offered_is_refused(extra):
    async def answer(server):
        send_settings(server, webtransport_settings())
        await server.until(lambda reader: 0 in reader.data)
        server.connection.write(0, fields((":status", "200"), *extra))

    with pytest.raises(NoCommonProtocol):
        serve_h3(answer)


def test_a_server_that_breaks_http3_is_told_apart():
    async def answer(server):
        send_settings(server, b"\x02\x00")

    with pytest.raises(ConnectFailed, match="http/3"):
        serve_h3(answer)


def test_codes_and_datagrams_pass_between_two_of_us():
    async def main():
        async with pair("webtransport") as both:
            client, server = both.client.connection, both.server.connection
            assert client.max_datagram_size == server.max_datagram_size
            stream = client.open_stream(bidirectional=True)
            client.write(stream, b"x")
            await both.server.until(lambda reader: stream in reader.data)
            server.reset(stream, 0x5)
            server.stop(stream, 0x4)
            await both.client.until(lambda reader: reader.resets and reader.stops)
            assert both.client.resets == {stream: 0x5}
            assert both.client.stops == {stream: 0x4}

    aio.run(main(), sockets=True)
