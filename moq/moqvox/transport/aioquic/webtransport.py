"""WebTransport over HTTP/3: one session for each connection.

draft-ietf-webtrans-http3, in what its revisions 02 to 15 have in common and shipping browsers
use; extended CONNECT of RFC 9220; datagrams and capsules of RFC 9297.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aioquic.h3.connection import FrameType, Setting, StreamType
from aioquic.quic.connection import stream_is_unidirectional
from aioquic.quic.events import (
    DatagramFrameReceived,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
)
from aioquic.quic.events import StreamReset as EngineStreamReset

from moqvox.errors import SessionCode
from moqvox.transport.aioquic.arrivals import Arrivals
from moqvox.transport.aioquic.capsules import (
    CLOSE_SESSION,
    CapsuleError,
    read_close,
)
from moqvox.transport.aioquic.closing import HASTY_LINGER
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.exchange import (
    Request,
    accept_fields,
    agree,
    choose,
    parse_request,
    request_fields,
)
from moqvox.transport.aioquic.goodbye import Goodbye
from moqvox.transport.aioquic.http3 import (
    H3Code,
    H3Error,
    SectionCodec,
    read_settings,
    settings_frame,
    takes_webtransport,
)
from moqvox.transport.aioquic.http3_streams import (
    ExchangeStream,
    HttpStream,
    IgnoredStream,
    uni_stream,
)
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.neighbours import Sponsor
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.varint import encode_varint, pull_varint
from moqvox.transport.aioquic.wtcodes import (
    BUFFERED_STREAM_REJECTED,
    SESSION_GONE,
    from_http,
    to_http,
)
from moqvox.transport.failures import ConnectFailed
from moqvox.transport.inbox import printable
from moqvox.transport.interface import Closed, Kind

__all__ = ["WebTransportConnection"]

logger = logging.getLogger("moqvox.transport.aioquic")

FIRST_PRIORITY: Final = -(1 << 31)
"""HTTP/3's own streams go before all others."""

FieldsCallback = Callable[[int, bytes], None]

MAX_REFUSED_REQUESTS: Final = 100
"""Requests that were not for us, or came too late; then the client must go."""


class WebTransportConnection(RawConnection):
    """A `transport.interface.Connection` in a WebTransport session. Observes one link."""

    def __init__(
        self,
        link: Link,
        *,
        is_client: bool,
        protocols: Sequence[str],
        sponsor: Sponsor,
        request: Request | None = None,
    ) -> None:
        super().__init__(link, protocol="", is_client=is_client)
        self._protocols = tuple(protocols)
        self._sponsor = sponsor
        self._request = request
        self._codec = SectionCodec()
        self._session: int | None = None
        self._is_established = False
        self._http: dict[int, HttpStream] = {}
        self._joined: set[int] = set()
        self._arrivals = Arrivals()
        self._critical: set[int] = set()
        self._peer_types: set[int] = set()
        self._refused = 0
        self._goodbye = Goodbye(link, is_client=is_client)

    def start(self) -> None:
        """Open our own streams and send SETTINGS."""
        for kind, first in (
            (StreamType.CONTROL, settings_frame()),
            (StreamType.QPACK_ENCODER, b""),
            (StreamType.QPACK_DECODER, b""),
        ):
            stream = self._link.open_stream(bidirectional=False, priority=FIRST_PRIORITY)
            self._critical.add(stream)
            self._link.write(stream, encode_varint(kind) + first, fin=False)

    # What it is.

    @property
    def kind(self) -> Kind:
        """What carries it."""
        return Kind.WEBTRANSPORT

    @property
    def path(self) -> str:
        """Path and query that the client asked for."""
        return self._request.path if self._request is not None else ""

    @property
    def origin(self) -> str:
        """The page's origin that a browser told; "" from programs."""
        return self._request.origin if self._request is not None else ""

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close the session once what is queued has arrived, then the connection."""
        self._link.close(
            Ending(H3Code.NO_ERROR, is_transport=False, reason=""),
            linger=self._link.limits.linger if code == 0 else HASTY_LINGER,
            report=Closed(code, printable(reason)),
            farewell=lambda: self._goodbye.say(self._session, code, reason),
            answered=lambda: self._goodbye.is_heard(self._session),
        )

    def _stream_prefix(self, *, bidirectional: bool) -> bytes:
        kind = FrameType.WEBTRANSPORT_STREAM if bidirectional else StreamType.WEBTRANSPORT
        return encode_varint(kind) + encode_varint(self._session or 0)

    def _datagram_prefix(self) -> bytes:
        return encode_varint((self._session or 0) // 4)

    def _to_wire(self, code: int) -> int:
        return to_http(code)

    def _from_wire(self, code: int) -> int:
        return from_http(code)

    # The observer of the link.

    def on_over(self, closed: Closed) -> None:
        """Report the end, and forget the streams, which refer back here."""
        super().on_over(closed)
        self._http.clear()

    def on_engine_event(self, event: QuicEvent) -> None:
        """Take one of the engine's events."""
        try:
            if isinstance(event, StreamDataReceived):
                self._on_bytes(event.stream_id, event.data, fin=event.end_stream)
            elif isinstance(event, EngineStreamReset):
                self._on_peer_reset(event.stream_id, event.error_code)
            elif isinstance(event, StopSendingReceived):
                self._on_peer_stop(event.stream_id, event.error_code)
            elif isinstance(event, DatagramFrameReceived):
                self._on_peer_datagram(event.data)
        except H3Error as exc:
            logger.debug("closing %s: %s", self.remote_address, exc.reason)
            self._link.close(
                Ending(exc.code, is_transport=False, reason=exc.reason),
                report=Closed(SessionCode.PROTOCOL_VIOLATION, f"http/3: {exc.reason}"),
            )

    def on_discarded(self, streams: list[int]) -> None:
        """Forget streams that are over."""
        super().on_discarded(streams)
        self._joined.difference_update(streams)
        for stream in streams:
            self._http.pop(stream, None)
            self._arrivals.forget(stream)

    def _on_bytes(self, stream: int, data: bytes, *, fin: bool) -> None:
        if stream in self._joined or stream in self._ours:
            self._on_data(stream, data, fin=fin)
        elif stream in self._http:
            self._on_http_bytes(stream, data, fin=fin)
        elif (early := self._arrivals.early(stream)) is not None:
            early.add(data, fin=fin)
        else:
            self._sort(stream, data, fin=fin)

    def _on_http_bytes(self, stream: int, data: bytes, *, fin: bool) -> None:
        self._link.hand_over(stream, len(data))
        if fin:
            self._link.release(stream)
        self._http[stream].feed(data, fin=fin)

    def _on_peer_reset(self, stream: int, code: int) -> None:
        if stream in self._joined or stream in self._ours:
            self._on_reset(stream, code)
            return
        http = self._http.get(stream)
        self._link.release(stream)
        self._arrivals.forget(stream)
        if http is not None and http.is_critical:
            raise H3Error(H3Code.CLOSED_CRITICAL_STREAM, "a critical stream was reset")
        if stream == self._session:
            self._goodbye.note_answer()
            self._end_by_peer(0, "the session's stream was reset")

    def _on_peer_stop(self, stream: int, code: int) -> None:
        if stream in self._joined or stream in self._ours:
            self._on_stopped(stream, code)
            return
        self._link.drop(stream)
        if stream in self._critical:
            raise H3Error(H3Code.CLOSED_CRITICAL_STREAM, "a critical stream was stopped")

    def _on_peer_datagram(self, data: bytes) -> None:
        pulled = pull_varint(data, 0)
        if pulled is None:
            raise H3Error(H3Code.DATAGRAM_ERROR, "a datagram without a session")
        if self._is_established and pulled[0] * 4 == self._session:
            self._inbox.datagram(data[pulled[1] :])

    # Which stream is what.

    def _sort(self, stream: int, data: bytes, *, fin: bool) -> None:
        """Find out what a stream is by its first bytes."""
        head = self._arrivals.read(stream, data)
        if head is None:
            if fin:
                self._arrivals.forget(stream)
                self._link.release(stream)
        elif head.session is not None:
            self._link.hand_over(stream, head.size)
            self._join(stream, head.session, head.rest, fin=fin)
        else:
            self._http[stream] = self._http_stream(stream, head.kind)
            self._link.hand_over(stream, head.size)
            self._on_http_bytes(stream, head.rest, fin=fin)

    def _http_stream(self, stream: int, kind: int) -> HttpStream:
        """Build the reader of a stream that is no session's."""
        if not stream_is_unidirectional(stream):
            if self._is_client:
                raise H3Error(H3Code.STREAM_CREATION_ERROR, "a request from the server")
            return self._exchange(stream, self._on_request)
        if kind in self._peer_types:
            raise H3Error(H3Code.STREAM_CREATION_ERROR, f"two streams of type {kind:#x}")
        http = uni_stream(kind, self._on_settings)
        if http.is_critical:
            self._peer_types.add(kind)
        else:
            self._link.stop(stream, H3Code.STREAM_CREATION_ERROR)
        return http

    def _exchange(self, stream: int, on_fields: FieldsCallback) -> ExchangeStream:
        return ExchangeStream(
            functools.partial(on_fields, stream),
            functools.partial(self._on_capsule, stream),
            functools.partial(self._on_exchange_end, stream),
        )

    def _join(self, stream: int, session: int, data: bytes, *, fin: bool) -> None:
        """Let a stream into the session, or have it wait for that, or reject it."""
        if not self._is_established:
            early = self._arrivals.hold(stream, session)
            if early is None:
                self._reject(stream, BUFFERED_STREAM_REJECTED, data, fin=fin)
            else:
                early.add(data, fin=fin)
        elif session != self._session:
            self._reject(stream, SESSION_GONE, data, fin=fin)
        else:
            self._joined.add(stream)
            self._meet(stream)
            if data or fin:
                self._on_data(stream, data, fin=fin)

    def _reject(self, stream: int, code: int, data: bytes, *, fin: bool) -> None:
        self._link.stop(stream, code)
        if not stream_is_unidirectional(stream):
            self._link.reset(stream, code)
        self._http[stream] = IgnoredStream()
        self._on_http_bytes(stream, data, fin=fin)

    # The session.

    def _on_settings(self, payload: bytes) -> None:
        has_datagrams = self._link.engine.max_datagram_payload > 0
        settings = read_settings(payload, has_datagrams=has_datagrams)
        if self._request is None or not self._is_client or self._session is not None:
            return
        if not (takes_webtransport(settings) and settings.get(Setting.ENABLE_CONNECT_PROTOCOL)):
            where = self._request.authority
            self._sponsor.rejected(ConnectFailed(f"https://{where} takes no WebTransport"))
            return
        stream = self._link.open_stream(bidirectional=True, priority=FIRST_PRIORITY)
        self._session = stream
        self._http[stream] = self._exchange(stream, self._on_response)
        fields = request_fields(self._request)
        self._link.write(stream, self._codec.encode(stream, fields), fin=False)

    def _on_request(self, stream: int, section: bytes) -> None:
        """Answer a request; the first for WebTransport gets the session."""
        request = parse_request(self._codec.request(stream, section))
        self._link.adopt_stream(stream)
        if request is None:
            self._refuse(stream, b"404")
            return
        if self._session is not None:
            self._refuse(stream, b"429")
            return
        protocol = choose(request, self._protocols)
        if protocol is None:
            self._refuse(stream, b"406")
            return
        self._session = stream
        self._request = request
        fields = accept_fields(request, protocol)
        self._link.set_priority(stream, FIRST_PRIORITY)
        self._link.write(stream, self._codec.encode(stream, fields), fin=False)
        self._establish(protocol)

    def _refuse(self, stream: int, status: bytes) -> None:
        self._refused += 1
        if self._refused > MAX_REFUSED_REQUESTS:
            raise H3Error(H3Code.EXCESSIVE_LOAD, f"{self._refused} requests that are not for us")
        self._link.write(stream, self._codec.encode(stream, [(b":status", status)]), fin=True)
        self._link.stop(stream, H3Code.NO_ERROR)

    def _on_response(self, stream: int, section: bytes) -> None:
        fields = self._codec.response(stream, section)
        if self._request is None:
            return
        agreed = agree(fields, self._request)
        if isinstance(agreed, ConnectFailed):
            self._sponsor.rejected(agreed)
        else:
            self._establish(agreed)

    def _establish(self, protocol: str) -> None:
        self._protocol = protocol
        self._is_established = True
        self._sponsor.established(self)
        for stream, held in self._arrivals.take_early().items():
            self._join(stream, held.session, bytes(held.data), fin=held.fin)

    def _on_capsule(self, stream: int, kind: int, value: bytes) -> None:
        if stream != self._session or not self._is_established:
            return
        if kind != CLOSE_SESSION:
            logger.debug("%s is about to close", self.remote_address)
            return
        try:
            code, reason = read_close(value)
        except CapsuleError as exc:
            raise H3Error(H3Code.MESSAGE_ERROR, str(exc)) from exc
        self._end_by_peer(code, reason)

    def _on_exchange_end(self, stream: int) -> None:
        if stream == self._session:
            self._goodbye.note_answer()
        if stream == self._session and self._is_established:
            self._end_by_peer(0, "")

    def _end_by_peer(self, code: int, reason: str) -> None:
        """Report the end of the session, and close the connection that it had to itself."""
        if self._inbox.is_closed or self._link.is_closing:
            return
        closed = Closed(code, printable(reason), remote=True)
        self._inbox.closed(closed)
        self._drains.wake_all()
        if self._session is not None:
            self._link.write(self._session, b"", fin=True)
        self._link.close(Ending(H3Code.NO_ERROR, is_transport=False, reason=""), report=closed)
