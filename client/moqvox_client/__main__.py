"""`moqvox VERB ...`: find the verb, gather its options, run it."""

import datetime
import importlib.metadata
import inspect
import logging
import os
import sys
from collections.abc import Iterator, Sequence

from moqvox_client.arguments import help_text, read_arguments
from moqvox_client.config import Resolved, describe, masked, resolve
from moqvox_client.errors import Failed, UsageError, did_you_mean
from moqvox_client.logs import configure
from moqvox_client.options import Shared
from moqvox_client.output import Output
from moqvox_client.supervise import OK, guard, run_to_end
from moqvox_client.verbs import VERBS, Verb, load_verb

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    0 is success, 1 a failure, 2 a wrong command line or configuration, 130 Ctrl-C,
    143 SIGTERM, 141 a reader of stdout that left.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives until exit
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives until exit
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    output = Output(json="--json" in words)
    if any(word.startswith("-vv") for word in words) or words.count("-v") > 1:
        logging.getLogger("moqvox").setLevel(logging.DEBUG)
    return guard(lambda: _main(words, output), output)


def version() -> str:
    """Name the installed version."""
    try:
        return importlib.metadata.version("moqvox")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _main(words: list[str], output: Output) -> int:
    name, rest = _split(words)
    if name in ("--version", "-V"):
        output.text(f"moqvox {version()}")
        output.done(version=version())
        return OK
    if name in ("--help", "-h", "help"):
        if rest and rest[0] in VERBS:
            return _run(load_verb(rest[0]), ["--help"], output)
        _overview(output)
        return OK
    if not name:
        raise UsageError("no verb given; moqvox --help lists them")
    if name not in VERBS:
        kind = "option" if name.startswith("-") else "verb"
        raise UsageError(f"unknown {kind} {name!r}{did_you_mean(name.lstrip('-'), VERBS)}")
    return _run(load_verb(name), rest, output)


def _split(words: list[str]) -> tuple[str, list[str]]:
    """Find the verb; flags before it count as if they came after it."""
    if words and words[0].startswith("-") and words[0] not in ("--version", "-V", "--help", "-h"):
        for at, word in enumerate(words):
            if word in VERBS:
                return word, words[:at] + words[at + 1 :]
    return (words[0], words[1:]) if words else ("", [])


def _overview(output: Output) -> None:
    output.json = False
    output.text("Usage: moqvox VERB [arguments] [--flags]\n")
    output.text("Media over QUIC for voice: no word is lost on the way to an agent and back.\n")
    output.table([("  " + name, summary) for name, summary in VERBS.items()])
    output.text("\nmoqvox VERB --help explains a verb, moqvox --version names the version.")


def _run(verb: Verb, words: list[str], output: Output) -> int:
    arguments = read_arguments(verb.name, verb.options, words)
    if arguments.wants_help:
        output.json = False
        summary = VERBS[verb.name]
        output.text(help_text(verb.name, verb.options, summary, verb.examples).rstrip())
        return OK
    resolved = resolve(
        verb.name,
        verb.options,
        arguments.values,
        os.environ,
        verbs=VERBS,
        others=_declarations,
    )
    output.json = resolved.options.json
    configure(resolved.options, output)
    if resolved.options.print_config:
        return _print_config(verb, resolved, output)
    if resolved.options.learns:
        return run_to_end(lambda: _run_remembering(verb, resolved.options, output))
    return run_to_end(lambda: verb.run(resolved.options, output))


async def _run_remembering(verb: Verb, options: Shared, output: Output) -> int:
    # Whoever learns has imported all this already; the others start without it.
    from moqvox_client.memory import remembering

    with remembering(lambda: datetime.datetime.now(datetime.UTC).timestamp()):
        code = verb.run(options, output)
        return await code if inspect.isawaitable(code) else code


def _declarations() -> Iterator[type[Shared]]:
    """Load every verb's options, leaving out verbs that this installation can't run."""
    for name in VERBS:
        try:
            yield load_verb(name).options
        except Failed:
            continue


def _print_config(verb: Verb, resolved: Resolved[Shared], output: Output) -> int:
    for line in describe(resolved, verb.name):
        output.text(line)
    for name, setting in resolved.settings.items():
        if name != "print-config":
            output.event("option", name=name, value=masked(setting), source=setting.origin)
    return OK


if __name__ == "__main__":
    sys.exit(main())
