"""Reads a capture: what one connection carried, decrypted.

A line is seconds, direction (`>` client to server), `S` and the stream's number, `FIN` if it
ends the stream there, the length in brackets, hex; or `RESET`, `STOP_SENDING`, `DGRAM`,
`CLOSE` or the negotiated ALPN.
"""

import re
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent

LINE = re.compile(
    r"\s*(?P<time>[\d.]+) (?P<direction>[<>*]) "
    r"(?:S(?P<stream>\d+) +|(?P<datagram>DGRAM) )?"
    r"(?:(?P<fin>FIN )?\[(?P<length>\d+)\] (?P<data>[0-9a-f]*)"
    r"|(?P<abandon>RESET|STOP_SENDING) (?P<code>\d+)"
    r"|ALPN (?P<alpn>\S+)|CLOSE code=(?P<closed>\d+).*)"
)


class Line(msgspec.Struct, frozen=True):
    """One thing that one side did.

    Attributes:
        stream: QUIC's number; None for datagrams and the connection itself.
        abandon: RESET or STOP_SENDING, "" for data.
    """

    client: bool
    stream: int | None
    data: bytes = b""
    fin: bool = False
    abandon: str = ""
    code: int = 0

    @property
    def opened_by_client(self) -> bool:
        return self.stream is not None and self.stream % 2 == 0

    @property
    def bidirectional(self) -> bool:
        return self.stream is not None and self.stream % 4 < 2


class Capture(msgspec.Struct, frozen=True):
    """A connection.

    Attributes:
        close_code: of the first CLOSE; None when nobody closed.
    """

    name: str
    alpn: str
    lines: list[Line]
    close_code: int | None


def names() -> list[str]:
    """List the captures, by file name."""
    return sorted(path.name for path in FOLDER.glob("*wire"))


def read(name: str) -> Capture:
    """Read a capture."""
    alpn, close_code, lines = "", None, []
    for text in (FOLDER / name).read_text().splitlines():
        match = LINE.fullmatch(text)
        assert match is not None, text
        if match["alpn"]:
            alpn = match["alpn"]
        elif match["closed"] is not None:
            close_code = int(match["closed"]) if close_code is None else close_code
        else:
            lines.append(_line(match))
    return Capture(name, alpn, lines, close_code)


def _line(match: re.Match[str]) -> Line:
    client = match["direction"] == ">"
    stream = int(match["stream"]) if match["stream"] else None
    if match["abandon"]:
        return Line(client, stream, abandon=match["abandon"], code=int(match["code"]))
    data = bytes.fromhex(match["data"])
    assert len(data) == int(match["length"]), match[0]
    return Line(client, stream, data, match["fin"] is not None)
