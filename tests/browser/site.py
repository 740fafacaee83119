"""Serves the page of client/web, and what it asks its server for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

WEB = Path(__file__).parents[2] / "client" / "web"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

Lab = Callable[[str], None]


class Site:
    """Files under `WEB`, `connection.json`, and `lab/...` if there is a laboratory."""

    def __init__(self, connection: dict[str, object], lab: Lab | None = None) -> None:
        self.connection = connection
        self._lab = lab
        self.asked: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _version = request.split("\r\n")[0].split()
            status, kind, body = self._find(method, target.partition("?")[0].lstrip("/"))
            head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode())
            writer.write(body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _find(self, method: str, path: str) -> tuple[str, str, bytes]:
        self.asked.append(path)
        if path == "connection.json":
            return "200 OK", "application/json", json.dumps(self.connection).encode()
        if path.startswith("lab/") and method == "POST" and self._lab is not None:
            self._lab(path.removeprefix("lab/"))
            return "204 No Content", "text/plain", b""
        if path == "blank":
            return "200 OK", "text/html", b"<!doctype html><title>blank</title>"
        file = (WEB / (path or "index.html")).resolve()
        if file.is_relative_to(WEB) and file.is_file() and file.suffix in TYPES:
            return "200 OK", TYPES[file.suffix], file.read_bytes()
        return "404 Not Found", "text/plain", b"not found\n"


@asynccontextmanager
async def site(connection: dict[str, object], lab: Lab | None = None) -> AsyncIterator[Site]:
    """Serve on a free port of localhost."""
    made = Site(connection, lab)
    server = await asyncio.start_server(made.answer, "localhost", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
