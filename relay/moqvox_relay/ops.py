"""The operators' plain HTTP, on the UDP port's number over TCP.

`/certificate.sha256` (hex, which browsers and clients pin), `/health`, `/metrics`
(Prometheus text). Nothing here is secret, and nothing can be changed through it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from moqvox.transport.websocket import HttpAnswer, HttpRequest

__all__ = ["Ops"]

ANY_ORIGIN: Final = (("Access-Control-Allow-Origin", "*"),)
"""Pages of any origin fetch the fingerprint; there is nothing else to protect."""


class Ops:
    """Answers plain requests."""

    def __init__(self, fingerprint: str, metrics: Callable[[], Mapping[str, float]]) -> None:
        self._fingerprint = fingerprint
        self._metrics = metrics

    def __call__(self, request: HttpRequest) -> HttpAnswer | None:
        """Answer a GET; None when there is nothing of that name."""
        if not request.is_reading:
            return None
        match request.path.partition("?")[0]:
            case "/certificate.sha256":
                body = self._fingerprint  # no line end: browsers' clients read it as hex whole
            case "/health":
                body = "ok\n"
            case "/metrics":
                rows = [f"{name} {value:.15g}\n" for name, value in self._metrics().items()]
                body = "".join(rows)
            case _:
                return None
        return HttpAnswer(body.encode(), headers=ANY_ORIGIN)
