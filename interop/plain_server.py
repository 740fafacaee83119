"""An echo server on `aioquic.asyncio.serve` with tickets, without a line of moqvox's in its QUIC.

Prints each handshake as a JSON line: whether it was resumed, whether what came ahead of it was
taken and on which streams, whether its client was asked to prove its address. With `--retry`
everybody is. Ends when stdin does.
"""

import asyncio
import datetime
import json
import sys
import tempfile
from pathlib import Path

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, QuicEvent, StreamDataReceived
from aioquic.tls import SessionTicket

from moqvox_certs import Certificate, generate


def emit(event: str, **fields: object) -> None:
    """Print one JSON object on a line of its own, at once."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Echo(QuicConnectionProtocol):
    """One client."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # handed on
        self._ahead: set[int] | None = set()

    def quic_event_received(self, event: QuicEvent) -> None:
        """Send back what came on a stream, on the same."""
        if isinstance(event, HandshakeCompleted):
            emit(
                "handshake",
                resumed=event.session_resumed,
                early=event.early_data_accepted,
                ahead=sorted(self._ahead or ()),
                retried=self._quic._retry_source_connection_id is not None,  # noqa: SLF001
            )
            self._ahead = None
        elif isinstance(event, StreamDataReceived) and not event.stream_id & 2:
            if self._ahead is not None:
                self._ahead.add(event.stream_id)
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
            self.transmit()


def _identify(made: Certificate) -> QuicConfiguration:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["echo-1"])
    with tempfile.TemporaryDirectory(prefix="moqvox-interop-") as folder:
        cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
        cert.write_bytes(made.cert_pem)
        key.write_bytes(made.key_pem)
        configuration.load_cert_chain(cert, key)
    return configuration


async def _run(*, retry: bool) -> None:
    made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    configuration = _identify(made)
    tickets: dict[bytes, SessionTicket] = {}
    server = await serve(
        "127.0.0.1",
        0,
        configuration=configuration,
        create_protocol=Echo,
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
        retry=retry,
    )
    host, port = server._transport.get_extra_info("sockname")[:2]  # noqa: SLF001
    emit("ready", address=f"{host}:{port}", fingerprint=made.fingerprint_hex)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_run(retry="--retry" in sys.argv[1:]))
