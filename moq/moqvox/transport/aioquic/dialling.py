"""One attempt to reach one address of a server."""

import asyncio
import errno
from collections.abc import Callable
from typing import Final

from aioquic.quic.events import HandshakeCompleted, QuicEvent
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import SessionTicket

from moqvox.transport.address import Address, show
from moqvox.transport.aioquic.alerts import explain_alert
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.exchange import Request
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.order import Order
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.roaming import Roaming
from moqvox.transport.aioquic.routes import Route
from moqvox.transport.aioquic.wallet import Kept
from moqvox.transport.aioquic.warmup import warm_up
from moqvox.transport.aioquic.webtransport import WebTransportConnection
from moqvox.transport.failures import ConnectFailed, NoCommonProtocol, PortRefused, Unreachable
from moqvox.transport.inbox import printable
from moqvox.transport.interface import Closed
from moqvox.transport.resolve import Target

__all__ = ["Dialling"]

IDLE_AFTER: Final = 0.005
"""Seconds after which the server is far enough for what takes longer the first time."""

UNREACHABLE: Final = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM))


class Dialling:
    """One attempt until its handshake is complete. Observes its link, and the endpoint's errors.

    With a ticket for early data, the connection is the answer before anybody has answered.
    """

    def __init__(self, order: Order, target: Target, route: Route | None) -> None:
        self._order = order
        self._route = route
        self._target = target
        self._link: Link | None = None
        self._session: WebTransportConnection | None = None
        self._early: RawConnection | None = None
        self._foreseen: tuple[RawConnection, Callable[[], None]] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._kept: Kept | None = None
        self._roots = order.roots()
        self.answer: asyncio.Future[RawConnection] = asyncio.get_running_loop().create_future()

    def start(self, endpoint: Endpoint, kept: Kept | None) -> None:
        """Send the first packet."""
        order, wallet = self._order, self._order.wallet
        self._kept = kept
        token = wallet.take_token(order.server) if wallet is not None else b""
        engine = Engine(
            order.configuration(kept, token),
            order.limits,
            pins=order.verify.fingerprints,
            roots=self._roots,
            on_ticket=self._keep if wallet is not None else None,
            on_token=self._keep_token if wallet is not None else None,
        )
        link = self._link = Link(engine, order.limits, endpoint)
        link.observer = self
        link.roaming = Roaming(
            link,
            self._target.address,
            self._target.family,
            endpoint.ways,
            route=self._route,
        )
        endpoint.add(link, engine.host_cid)
        if order.urge is not None:
            order.urge.add(self, self._ask_again)
            self.answer.add_done_callback(self._be_left_alone)
        now = endpoint.now()
        engine.connect(self._target.address, now)
        if kept is not None and engine.is_early and order.early and not order.webtransport:
            self._early = RawConnection(link, protocol=kept.protocol, is_client=True)
            self._deadline = asyncio.get_running_loop().call_later(order.timeout, self._give_up)
            self.answer.set_result(self._early)
            endpoint.touch(link)  # what is said early goes along
        else:
            link.flush(now)
        asyncio.get_running_loop().call_later(IDLE_AFTER, self._use_the_wait)

    def _ask_again(self) -> None:
        """Send the first packet once more: the server is there now."""
        if self._link is not None:
            self._link.engine.repeat_hello(self._link.now())
            self._link.touch()

    def _be_left_alone(self, _answer: object) -> None:
        if self._order.urge is not None:
            self._order.urge.discard(self)

    def _use_the_wait(self) -> None:
        """Prepare for the answer, if it is not here by now."""
        link, order = self._link, self._order
        if link is None or link.engine.protocol:
            return
        warm_up()
        if self._roots is not None:
            self._roots.get_ready()
        if order.foresee is not None and not order.webtransport and not self.answer.done():
            presumed = RawConnection(link, protocol=order.protocols[0], is_client=True)
            self._foreseen = presumed, order.foresee(presumed)

    def _keep(self, session: SessionTicket) -> None:
        link, wallet = self._link, self._order.wallet
        protocol = link.engine.protocol if link is not None else ""
        if wallet is not None and protocol:
            wallet.keep(self._order.server, session, protocol, self._target.address[0])

    def _keep_token(self, token: bytes) -> None:
        if self._order.wallet is not None:
            self._order.wallet.keep_token(self._order.server, token)

    def _return_ticket(self) -> None:
        """Give the ticket back if nobody has answered."""
        wallet, kept, link = self._order.wallet, self._kept, self._link
        self._kept = None
        if wallet is None or kept is None or link is None:
            return
        if not link.stats().received_packets:
            wallet.give_back(self._order.server, kept)

    def _give_up(self) -> None:
        self._break_off(f"{self._order.where} did not answer on UDP")

    def _break_off(self, reason: str) -> None:
        """End a connection that was handed over early, and that nobody answers."""
        link = self._link
        if link is not None and self._early is not None and link.observer is self:
            link.abort(Closed(0, reason, lost=True))

    @property
    def is_waiting(self) -> bool:
        """Whether the answer was given before the server's."""
        return self._early is not None and self._link is not None and self._link.observer is self

    def _fail(self, failure: ConnectFailed) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)

    # The endpoint's questions.

    def on_stranger(self, data: bytes, address: Address, endpoint: Endpoint) -> Link | None:
        """Drop what belongs to no connection, but see whether it says so of ours."""
        link = self._link
        if link is not None and link.engine.is_reset(data, address):
            link.on_reset(endpoint.now())
        return None

    def on_refused(self, error: OSError) -> None:
        """Give up at once when the network says no; later it is one lost packet of many."""
        where = show(self._target.address)
        if self.answer.done() and self._link is not None and self._link.roaming is not None:
            self._link.roaming.on_refused(error)
        elif error.errno == errno.ECONNREFUSED:
            self._fail(PortRefused(f"nothing listens on UDP {where}"))
            self._break_off(f"nothing listens on UDP {where}")
        elif error.errno in UNREACHABLE:
            reason = (error.strerror or "unreachable").lower()
            self._fail(Unreachable(f"cannot reach {where}: {reason}"))

    # The observer of the link.

    def on_engine_event(self, event: QuicEvent) -> None:
        """Go on once the handshake is complete: raw QUIC is there, WebTransport asks."""
        link = self._link
        if link is None:
            return
        if self._session is not None:
            self._session.on_engine_event(event)
        elif self._early is not None:
            self._early.on_engine_event(event)
            if isinstance(event, HandshakeCompleted):
                self._confirm(link, self._early, event.alpn_protocol)
        elif isinstance(event, HandshakeCompleted):
            self._on_handshake(link, event.alpn_protocol)

    def _confirm(self, link: Link, early: RawConnection, protocol: str | None) -> None:
        """Let an early connection observe its link itself, if it is what it was taken for."""
        if self._deadline is not None:
            self._deadline.cancel()
        link.observer = early
        if protocol != early.protocol:
            early.close(0, f"the server speaks {printable(protocol or '')} now")

    def _on_handshake(self, link: Link, protocol: str | None) -> None:
        order = self._order
        if protocol is None:
            self._fail(NoCommonProtocol(f"{order.where} negotiates no protocol"))
        elif order.webtransport:
            self._session = WebTransportConnection(
                link,
                is_client=True,
                protocols=order.protocols,
                sponsor=self,
                request=Request(order.where, order.path, order.protocols),
            )
            self._session.start()
        elif self._foreseen is not None and self._foreseen[0].protocol == protocol:
            connection, begin = self._foreseen
            self._done(connection, begin)
        else:
            self._done(RawConnection(link, protocol=protocol, is_client=True))
        link.hear(once_said=True)

    def established(self, connection: WebTransportConnection) -> None:
        """Answer with the session."""
        self._done(connection)

    def rejected(self, failure: ConnectFailed) -> None:
        """Answer with the server's refusal."""
        self._fail(failure)
        self.close()

    def _done(self, connection: RawConnection, begin: Callable[[], None] | None = None) -> None:
        if self._link is not None:
            self._link.observer = connection
        if self.answer.done():
            connection.close()
            return
        if begin is not None:
            begin()
        self.answer.set_result(connection)

    def on_writable(self, streams: list[int]) -> None:
        """Pass on what concerns an early connection; nothing else is written yet."""
        if self._early is not None:
            self._early.on_writable(streams)

    def on_discarded(self, streams: list[int]) -> None:
        """Pass on what concerns a connection in the making."""
        connection = self._session or self._early
        if connection is not None:
            connection.on_discarded(streams)

    def on_path(self, address: Address, cause: str) -> None:
        """Nothing to report to."""

    def on_over(self, closed: Closed) -> None:
        """Explain a handshake that failed."""
        self._return_ticket()
        if self._early is not None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._early.on_over(closed)
            return
        ending = self._link.engine.ending() if self._link is not None else None
        if ending is None or ending.lost or not ending.is_transport:
            reason = closed.reason or "no answer"
            self._fail(ConnectFailed(f"no connection to {self._order.where}: {reason}"))
        else:
            self._fail(explain_alert(self._order.where, ending.code, printable(ending.reason)))

    def close(self, code: int = 0, reason: str = "") -> None:
        """Give up."""
        if self._early is not None:
            self._early.close(code, reason)
        elif self._link is not None:
            ending = Ending(QuicErrorCode.NO_ERROR, is_transport=True, reason="")
            self._link.close(ending, linger=0.0)
