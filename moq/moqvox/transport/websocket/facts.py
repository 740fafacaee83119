"""What every server of ours answers over plain HTTP: that it lives, and its certificate's hash."""

from collections.abc import Callable
from typing import Final

from moqvox.transport.websocket.http import Http, HttpAnswer, HttpRequest

__all__ = ["ANY_ORIGIN", "facts"]

ANY_ORIGIN: Final = (("Access-Control-Allow-Origin", "*"),)
"""Pages of any origin fetch the fingerprint; there is nothing else to protect."""


def facts(fingerprint: Callable[[], str], more: Http | None = None) -> Http:
    """Answer `/certificate.sha256` and `/health`, and leave all else to `more`.

    Args:
        fingerprint: of the certificate in use, 64 hex digits; browsers and clients pin it.
        more: what else there is.
    """

    def answer(request: HttpRequest) -> HttpAnswer | None:
        path = request.path.partition("?")[0]
        if request.is_reading and path == "/certificate.sha256":
            # No line end: browsers' clients read it as hex whole.
            return HttpAnswer(fingerprint().encode(), headers=ANY_ORIGIN)
        if request.is_reading and path == "/health":
            return HttpAnswer(b"ok\n", headers=ANY_ORIGIN)
        return more(request) if more is not None else None

    return answer
