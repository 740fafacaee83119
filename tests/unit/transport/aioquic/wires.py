"""Two engines and a wire between them, on a clock of its own: no socket, no loop."""

import datetime
import functools
from collections.abc import Callable

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from aioquic.tls import SessionTicket

from moqvox.transport.address import Address
from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.identity import identify, trust
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.roots import Roots
from moqvox.transport.aioquic.tickets import Tickets
from moqvox.transport.aioquic.ways import by_way, way_of
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.quic.connection_ids import Issuer
from moqvox_certs import Certificate, generate

CLIENT, SERVER = ("192.0.2.1", 1000), ("192.0.2.2", 443)


@functools.cache
def certificate() -> Certificate:
    return generate(["localhost"], datetime.datetime.now(datetime.UTC))


def configuration(*, is_client: bool, limits: Limits, **options: object) -> QuicConfiguration:
    made = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["x"],
        idle_timeout=30.0,
        max_data=limits.connection_window(0),
        max_stream_data=limits.stream_window(0),
        max_datagram_frame_size=65536,
        server_name="localhost" if is_client else None,
        **options,
    )
    if is_client:
        trust(made, Verify.authority(certificate().ca_pem))
        made.load_verify_locations(cadata=certificate().ca_pem)  # where no roots are given
    else:
        identify(made, ServerCertificate(certificate().cert_pem, certificate().key_pem))
    return made


class Wire:
    """Carries datagrams with a delay; `lose` decides about each, `hear` sees each event."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        delay: float = 0.01,
        pins: frozenset[bytes] = frozenset(),
        roots: Roots | None = None,
        lose: Callable[[], bool] = lambda: False,
        issuer: Issuer | None = None,
        tickets: Tickets | None = None,
        ticket: SessionTicket | None = None,
    ) -> None:
        limits = limits or Limits()
        self.now = 0.0
        self.delay = delay
        self.lose = lose
        ids = {"connection_id_length": issuer.size} if issuer is not None else {}
        self.tickets: list[SessionTicket] = []
        self.tokens: list[bytes] = []
        self.client = self._end(
            configuration(is_client=True, limits=limits, session_ticket=ticket),
            limits,
            pins=pins,
            roots=roots or Roots(certificate().ca_pem),
            on_ticket=self.tickets.append,
            on_token=self.tokens.append,
        )
        self.server = self._end(
            configuration(is_client=False, limits=limits, **ids),
            limits,
            original_destination_connection_id=self.client.original_destination_connection_id,
            issuer=issuer,
            tickets=tickets,
        )
        self.flying: list[tuple[float, Engine, bytes, Address]] = []
        self.events: dict[Engine, list[QuicEvent]] = {self.client: [], self.server: []}
        self.addresses: dict[int, tuple[str, int]] = {0: CLIENT}
        self.dead: set[int] = set()
        self.client.connect(SERVER, 0.0)

    def _end(self, settings: QuicConfiguration, limits: Limits, **options: object) -> Engine:
        return Engine(settings, limits, **options)

    @property
    def client_address(self) -> tuple[str, int]:
        """The client's address by its first way; another one is what a NAT makes of it."""
        return self.addresses[0]

    @client_address.setter
    def client_address(self, address: tuple[str, int]) -> None:
        self.addresses[0] = address

    def open_way(self, address: tuple[str, int]) -> Address:
        """Give the client another address; returns the server's by that way."""
        number = len(self.addresses)
        self.addresses[number] = address
        return by_way(SERVER, number)

    def handshake(self) -> "Wire":
        self.run(0.3)
        return self

    def run(self, seconds: float) -> None:
        """Let time pass, event by event."""
        end = self.now + seconds
        self._send()
        while True:
            times = [flight[0] for flight in self.flying]
            times += [t for e in self.events if (t := e.get_timer()) is not None]
            if not times or min(times) > end:
                break
            # A little late, as a real timer is: upstream's loss timer, at its very moment,
            # finds by rounding that it is too early, for ever.
            self.now = max(self.now, min(times) + 1e-6)
            self._receive()
            for engine in self.events:
                timer = engine.get_timer()
                if timer is not None and timer <= self.now:
                    engine.handle_timer(self.now)
            self._send()
        self.now = max(self.now, end)

    def _receive(self) -> None:
        due = [flight for flight in self.flying if flight[0] <= self.now]
        self.flying = [flight for flight in self.flying if flight[0] > self.now]
        for _, engine, data, address in due:
            engine.receive_datagram(data, address, self.now)

    def _send(self) -> None:
        for engine, other in ((self.client, self.server), (self.server, self.client)):
            while datagrams := self._datagrams(engine):
                for data, address in datagrams:
                    number, source = self._way(engine, address)
                    if number is not None and number not in self.dead and not self.lose():
                        self.flying.append((self.now + self.delay, other, data, source))
            while (event := engine.next_event()) is not None:
                self.events[engine].append(event)

    def _way(self, engine: Engine, address: Address) -> tuple[int | None, Address]:
        """Find which of the client's ways a datagram takes, and whom it comes from."""
        if engine is self.client:
            number = way_of(address) or 0
            return number, self.addresses[number]
        numbers = [n for n, known in self.addresses.items() if known == address]
        return (numbers[0], by_way(SERVER, numbers[0])) if numbers else (None, SERVER)

    def _datagrams(self, engine: Engine) -> list[tuple[bytes, Address]]:
        if engine is self.server and not engine.peer[0]:
            return []
        return engine.datagrams_to_send(self.now)
