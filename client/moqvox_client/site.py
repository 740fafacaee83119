"""The page and what it asks its own server for: files, where to call, the laboratory.

An `Http` application for the TCP port that WebSockets share. `client/web/` is served as it
is; `connection.json` tells the page where to call, and `lab/` worsens the demo's network.
"""

import importlib.resources
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from moqvox.transport.websocket import HttpAnswer, HttpRequest
from moqvox_client.errors import Failed

__all__ = ["Lab", "Site", "page_url"]

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' blob: https: wss: ws:; "
    "frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
"""The talk element has its style inline; the agent may be anywhere."""

MAX_LOSS: Final = 90.0

OUTAGE: Final = 2.0
"""Seconds."""


class Lab(Protocol):
    """The network between page and agent, if it is ours to worsen."""

    def outage(self, duration: float) -> None:
        """Let nothing through for `duration` seconds, either way."""

    def lose(self, percent: float) -> None:
        """Lose so many packets from now on, each way."""


class Connection(msgspec.Struct, rename="camel"):
    """What the page is told.

    Attributes:
        named_protocol: the server finds the protocol in the query, where a browser's WebTransport
            can't offer any.
        lab: where the network's verbs are, if there are any.
    """

    url: str
    certificate_hashes: tuple[str, ...]
    token: str = ""
    named_protocol: bool = True
    lab: str | None = None


class Site:
    """Answers plain HTTP requests.

    Args:
        addresses: where the agent listens; the page reaches it by the name it was itself
            reached by.
        fingerprint: of a certificate that browsers have to pin; "" for one they trust.
        path: of the URL that is called.
        lab: the network to worsen.

    Raises:
        Failed: the page's files are not installed.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]] = (),
        fingerprint: str = "",
        *,
        path: str = "",
        lab: Lab | None = None,
    ) -> None:
        self.addresses = addresses
        self.fingerprint = fingerprint
        self.lab = lab
        self._path = path
        self._files = _files()

    def __call__(self, asked: HttpRequest) -> HttpAnswer | None:
        """Answer one request; None where there is nothing of that name."""
        name = asked.path.partition("?")[0].lstrip("/")
        if name.startswith("lab/"):
            return self._work(name.removeprefix("lab/"), asked)
        if not asked.is_reading:
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, "there is nothing to change here")
        if name == "connection.json":
            body = msgspec.json.encode(self._connection(asked))
            return HttpAnswer(body, "application/json", headers=(("Cache-Control", "no-store"),))
        found = self._files.get(name or "index.html")
        if found is None:
            return None
        kind, body = found
        headers = [("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff")]
        if kind.startswith("text/html"):
            headers += [("Content-Security-Policy", POLICY), ("Referrer-Policy", "no-referrer")]
        else:
            headers.append(("Access-Control-Allow-Origin", "*"))  # a module for any page
        return HttpAnswer(body, kind, headers=tuple(headers))

    def _connection(self, asked: HttpRequest) -> Connection:
        host = asked.headers.get("host", "")
        # Browsers try ::1 for localhost, and over UDP nothing else.
        if host.partition(":")[0] == "localhost" and not any(":" in at for at, _ in self.addresses):
            host = "127.0.0.1" + host.removeprefix("localhost")
        return Connection(
            f"https://{host}/{self._path}",
            (self.fingerprint,) if self.fingerprint else (),
            lab="lab/" if self.lab is not None else None,
        )

    def _work(self, verb: str, asked: HttpRequest) -> HttpAnswer | None:
        if self.lab is None:
            return None
        if asked.is_reading:
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, "POST it")
        if asked.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return _refuse(HTTPStatus.FORBIDDEN, "the laboratory is its own page's only")
        if verb == "outage":
            self.lab.outage(OUTAGE)
        elif verb.startswith("loss/") and (percent := _percent(verb.removeprefix("loss/"))) >= 0:
            self.lab.lose(percent)
        else:
            return None
        return HttpAnswer(status=HTTPStatus.NO_CONTENT)


def page_url(addresses: Sequence[tuple[str, int]], *, trusted: bool) -> str:
    """Name the page as a person on this machine opens it.

    Over plain HTTP where the certificate is one that a browser would warn of: to this machine
    that is as secure, and for browsers a secure page too.
    """
    host, port = addresses[0]
    if host in ("::", "0.0.0.0", "127.0.0.1", "::1"):  # noqa: S104 - compared, not bound
        return f"{'https' if trusted else 'http'}://localhost:{port}/"
    return f"https://{f'[{host}]' if ':' in host else host}:{port}/"


def _files() -> Mapping[str, tuple[str, bytes]]:
    """Read the page's files: installed beside this package, or next to it in a clone."""
    installed = importlib.resources.files("moqvox_client") / "web"
    folder: Traversable = installed
    if not installed.is_dir():
        folder = Path(__file__).parents[1] / "web"
        if not folder.is_dir():
            raise Failed("the page's files are not installed (folder client/web)")
    return {
        file.name: (TYPES[suffix], file.read_bytes())
        for file in folder.iterdir()
        if (suffix := f".{file.name.rpartition('.')[2]}") in TYPES
    }


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        return -1.0
    return percent if 0 <= percent <= MAX_LOSS else -1.0


def _refuse(status: HTTPStatus, reason: str) -> HttpAnswer:
    return HttpAnswer(f"{reason}\n".encode(), status=status)
