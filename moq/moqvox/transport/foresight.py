"""What is done with a connection between its server's answer and the return of its dial."""

from collections.abc import Callable

from moqvox.transport.interface import Connection

__all__ = ["Foresee"]

Foresee = Callable[[Connection], Callable[[], None]]
"""Is given a connection whose server has not answered, with the protocol that is wanted most, to
prepare all that takes time. What it returns is called in the moment when the server is there,
proven, and has chosen that protocol: what is written then leaves with the first packets. If that
never happens, it is not called, and the connection given was none."""
