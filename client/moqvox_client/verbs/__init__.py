"""The verbs of `moqvox`: a module each, imported only when its verb is used.

A verb's module has `Options` (a frozen Struct under `Shared`), `run(options, output)`
(plain or async, returning the exit code) and, if it likes, `EXAMPLES` for its help.
"""

import importlib
import types
from collections.abc import Callable, Coroutine
from typing import Final

import msgspec

from moqvox_client.errors import Failed
from moqvox_client.options import Shared
from moqvox_client.output import Output

__all__ = ["VERBS", "Verb", "load_verb"]

VERBS: Final[dict[str, str]] = {
    "demo": "speak a sentence through two relays to an agent and hear the answer",
    "relay": "forward broadcasts between publishers and subscribers",
    "serve": "run a voice agent that callers talk to",
    "talk": "say a text, a file or the microphone to an agent and hear the reply",
    "push": "publish audio from a file, stdin or the microphone",
    "pull": "subscribe to a broadcast and save or play it",
    "lab": "measure a call on a bad network, ours and what others use, side by side",
    "certs": "make development certificates and print their fingerprint",
    "token": "make or inspect a token that grants access",
    "doctor": "check this machine, a certificate or a server, with remedies",
}
"""Each verb and what it does in one line, in the order of the help."""

EXTRAS: Final = {
    "pocketsphinx": "demo",
    "espeakng_loader": "demo",
    "sounddevice": "mic",
}
"""Packages that come with an extra of the distribution."""

Run = Callable[[Shared, Output], int | Coroutine[object, object, int]]


class Verb(msgspec.Struct, frozen=True):
    """A loaded verb."""

    name: str
    options: type[Shared]
    run: Run
    examples: str


def load_verb(name: str) -> Verb:
    """Import the verb's module.

    Raises:
        Failed: the module, or something it needs, can't be imported.
    """
    path = f"moqvox_client.verbs.{name}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as exc:
        raise Failed(_missing(name, path, exc.name or "")) from exc
    except (ImportError, OSError, AttributeError, TypeError) as exc:
        raise Failed(f"cannot load the verb {name!r}: {type(exc).__name__}: {exc}") from exc
    return _verb(name, module)


def _verb(name: str, module: types.ModuleType) -> Verb:
    options, run = vars(module).get("Options"), vars(module).get("run")
    if not (isinstance(options, type) and issubclass(options, Shared) and callable(run)):
        raise Failed(f"cannot load the verb {name!r}: {module.__name__} lacks Options or run")
    return Verb(name, options, run, str(vars(module).get("EXAMPLES", "")))


def _missing(name: str, path: str, package: str) -> str:
    if package == path:
        return f"this installation has no verb {name!r}"
    top = package.split(".")[0]
    if top in EXTRAS:
        return f'the verb {name!r} needs {top}; install it with pip install "moqvox[{EXTRAS[top]}]"'
    return f"the verb {name!r} needs the Python package {package!r}, which is not installed"
