"""Plain HTTP on the WebSocket's port: what is asked and what is answered."""

import datetime
import email.utils
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

__all__ = ["Http", "HttpAnswer", "HttpRequest", "answer", "is_upgrade", "refusal"]

logger = logging.getLogger("moqvox.transport.websocket")

METHODS: Final = frozenset(("GET", "HEAD", "POST"))


class HttpRequest(msgspec.Struct, frozen=True):
    """A GET, a HEAD, whose answer's body is not sent, or a POST without a body.

    Attributes:
        path: with the query, as it was sent.
        headers: names in lower case; of a repeated one the first value.
        is_secure: it came over TLS.
        remote_address: `host:port`.
    """

    path: str
    headers: Mapping[str, str]
    is_secure: bool
    remote_address: str
    method: str = "GET"

    @property
    def is_reading(self) -> bool:
        """Whether it asks to be told something, and to change nothing."""
        return self.method != "POST"


class HttpAnswer(msgspec.Struct, frozen=True):
    """What is sent back; the connection closes after it."""

    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    status: int = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


Http = Callable[[HttpRequest], HttpAnswer | None]
"""Answers plain requests, at once; None: there is nothing of that name."""


def is_upgrade(request: Request) -> bool:
    """Whether a WebSocket is asked for."""
    values = ",".join(request.headers.get_all("Upgrade"))
    return "websocket" in (value.strip().lower() for value in values.split(","))


def answer(
    http: Http | None, request: Request, *, is_secure: bool, remote_address: str
) -> Response:
    """Let the application answer; its bugs are answered with 500."""
    if request.method not in METHODS:
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method[:20]} is not served here")
    headers: dict[str, str] = {}
    for name, value in request.headers.raw_items():
        headers.setdefault(name.lower(), value)
    asked = HttpRequest(request.path, headers, is_secure, remote_address, request.method)
    try:
        found = http(asked) if http is not None else None
    except Exception:
        logger.exception("answering a request of %s failed", remote_address)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
    if found is None:
        return refusal(HTTPStatus.NOT_FOUND, "not found")
    return _build(found, with_body=request.method != "HEAD")


def refusal(status: HTTPStatus, reason: str) -> Response:
    """Build an answer that only says why not."""
    return _build(HttpAnswer(f"{reason}\n".encode(), status=status))


def _build(found: HttpAnswer, *, with_body: bool = True) -> Response:
    now = datetime.datetime.now(datetime.UTC)
    headers = Headers(
        {
            "Date": email.utils.format_datetime(now, usegmt=True),
            "Connection": "close",
            "Content-Length": str(len(found.body)),
            "Content-Type": found.content_type,
        }
    )
    for name, value in found.headers:
        headers[name] = value
    phrase = HTTPStatus(found.status).phrase
    return Response(found.status, phrase, headers, found.body if with_body else b"")
