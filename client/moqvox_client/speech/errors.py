"""Why there is no speech."""

import importlib.util

from moqvox_client.errors import Failed

__all__ = ["SpeechFailed", "SpeechUnavailable", "require"]


class SpeechUnavailable(Failed):
    """A package of the extra `demo` is not installed."""


class SpeechFailed(Failed):
    """The recogniser or the synthesiser broke, or was asked for what it does not have."""


def require(module: str, purpose: str) -> None:
    """Check that a package of the extra is there, without loading it.

    Raises:
        SpeechUnavailable: it is not; the message says what to install.
    """
    if importlib.util.find_spec(module) is None:
        raise SpeechUnavailable(f"{purpose} needs the package {module}: pip install 'moqvox[demo]'")
