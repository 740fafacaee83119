"""The operators' plain HTTP, on the UDP port's number over TCP.

`/certificate.sha256` (hex, which browsers and clients pin), `/health`, `/metrics`
(Prometheus text). Nothing here is secret, and nothing can be changed through it.
"""

from collections.abc import Callable, Mapping

from moqvox.transport.websocket import ANY_ORIGIN, Http, HttpAnswer, HttpRequest, facts

__all__ = ["ops"]


def ops(fingerprint: str, metrics: Callable[[], Mapping[str, float]]) -> Http:
    """Answer plain requests."""

    def measured(request: HttpRequest) -> HttpAnswer | None:
        if not request.is_reading or request.path.partition("?")[0] != "/metrics":
            return None
        rows = [f"{name} {value:.15g}\n" for name, value in metrics().items()]
        return HttpAnswer("".join(rows).encode(), headers=ANY_ORIGIN)

    return facts(lambda: fingerprint, measured)
