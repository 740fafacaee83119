"""A moq-rs server that relays: what one session publishes, the others can have."""

import argparse
from urllib.parse import parse_qs

import moq

from interop.peers.moqrs.speech import emit, explain, main, parser, until_told_to_leave

FORBIDDEN = 403


def _options() -> argparse.Namespace:
    made = parser("relay between sessions, on raw QUIC and WebTransport, until stdin ends")
    made.add_argument("--bind", default="127.0.0.1:0")
    made.add_argument("--tls-generate", action="append", default=[], metavar="HOST")
    made.add_argument("--tls-cert", help="PEM file")
    made.add_argument("--tls-key", help="PEM file")
    made.add_argument("--require-token", help="turn away every ?jwt= that is not this")
    return made.parse_args()


def _is_welcome(request: moq.Request, token: str | None) -> bool:
    return token is None or parse_qs(request.query or "").get("jwt") == [token]


async def _serve(session_id: int, request: moq.Request, token: str | None) -> None:
    welcome = _is_welcome(request, token)
    emit("session", id=session_id, path=request.path, accepted=welcome)
    if not welcome:
        await request.reject(FORBIDDEN)
        return
    session = await request.accept()
    try:
        await session.closed()
    except moq.Error as exc:
        emit("closed", id=session_id, **explain(exc))
    else:
        emit("closed", id=session_id)


async def _attempt(session_id: int, request: moq.Request, token: str | None) -> None:
    """Serve one session; its failure is reported and is nobody else's."""
    try:
        await _serve(session_id, request, token)
    except moq.Error as exc:
        emit("session_failed", id=session_id, **explain(exc))


async def _relay(args: argparse.Namespace) -> None:
    origin = moq.OriginProducer()
    server = moq.Server(
        args.bind,
        tls_cert=[args.tls_cert] if args.tls_cert else [],
        tls_key=[args.tls_key] if args.tls_key else [],
        tls_generate=args.tls_generate,
        publish=origin,
        subscribe=origin,
    )
    async with server, until_told_to_leave() as group:
        fingerprint = server.cert_fingerprints()[0]
        emit("ready", address=server.local_addr, fingerprint=fingerprint)

        async def accept() -> None:
            session_id = 0
            async for request in server:
                session_id += 1
                group.create_task(_attempt(session_id, request, args.require_token))

        group.create_task(accept())
    emit("done")


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _relay(options))
