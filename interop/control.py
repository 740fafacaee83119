"""The control: moq-rs in moqvox's place, so that a case that fails is known to be our fault.

A case that fails here as well says something about the peer or the case, not about moqvox.
"""

from pathlib import Path
from typing import Final

from interop import moqrs
from interop.account import packets_of
from interop.failure import Failure, Skipped
from interop.matrix import Row, Version
from interop.program import Event, Program, text
from interop.sides import Access, Certificate, RelayWish, Source, Target
from interop.sound import Heard, listen, read_raw
from interop.stage import Endpoint, Stage

__all__ = ["Control"]

SAMPLE_RATE: Final = 48_000
REFUSED: Final = 3

CANNOT: Final = {
    "edge-downstream": "the server of moq-rs has no upstream",
    "edge-upstream": "the server of moq-rs has no upstream",
    "certificate-authority": "there is no program to issue a certificate",
    "ended-track": "moq-rs as relay cuts off the groups of a track that is over",
    "replaced-in-session": "moq-rs as relay serves the old broadcast under the new one's name",
    "page-through-peer": "the page is moqvox's own",
    "direct-caller": "the voice server is moqvox's own",
    "named-caller": "the voice server is moqvox's own",
    "websocket": "the server of moq-rs for Python has no WebSocket",
    "websocket-to-webtransport": "the server of moq-rs for Python has no WebSocket",
    "killed-and-back": "moq-rs keeps to the dead publisher for 12 s",
}
"""What moq-rs 0.5.1 can't do, or was seen to get wrong."""


class SharedWord:
    """What the server of moq-rs in the control takes for a token."""

    GOOD: Final = "open-sesame"

    def token(self, *, root: str, publish: bool, subscribe: bool) -> str:
        """Return the one word, whatever is to be granted, if it is asked for the right place."""
        return self.GOOD if root == "room" and publish and subscribe else f"no-{root}"

    def forged(self, *, root: str) -> str:
        """Return another word."""
        return f"forged-{root}"

    def expired(self, *, root: str) -> str:
        """Return another word."""
        return f"expired-{root}"


class Control:
    """moq-rs on both sides; it takes what version it likes, which is the newest."""

    forces_version = False

    def check_version(self, program: Program, row: Row) -> None:
        """Do nothing: it takes what it likes."""

    def can_play(self, row: Row) -> str | None:
        """Refuse other versions than the newest, and what moq-rs is known not to do."""
        if row.version is not Version.LITE_06:
            return "moq-rs can't be told which version to use"
        return CANNOT.get(row.case)

    async def relay(self, stage: Stage, row: Row, wish: RelayWish) -> Endpoint:
        """Start the server of moq-rs."""
        if wish.upstream is not None or wish.certificate is not None:
            raise Skipped("moq-rs has no such relay")
        return await start_server(stage, row, wish.access)

    async def push(
        self, stage: Stage, row: Row, target: Target, broadcast: str, source: Source
    ) -> Program:
        """Publish with moq-rs, in real time."""
        arguments = [*_client(row, target), broadcast]
        arguments += ["--tone", str(source.tone_hz), "--duration-ms", str(source.duration_ms)]
        if source.recipe is None:
            arguments.append("--live")
        else:
            arguments += ["--recipe", str(source.recipe)]
        return await moqrs.start(stage, "opus_publish", arguments, name="control push")

    async def push_ended(self, program: Program) -> None:
        """Tell the publisher to leave, once all is written."""
        await program.event("written")
        program.leave()
        await program.finished()

    async def pull(
        self,
        stage: Stage,
        row: Row,
        target: Target,
        broadcast: str,
        out: Path,
        seconds: float | None = None,
    ) -> Program:
        """Subscribe with moq-rs, which decodes."""
        if seconds is not None:
            raise Skipped("the program for moq-rs stays to the end")
        arguments = [*_client(row, target), broadcast, "--pcm", str(out)]
        program = await moqrs.start(stage, "opus_subscribe", arguments, name="control pull")
        await program.either("ready", "error")
        return program

    def packets_pulled(self, program: Program, out: Path) -> list[str]:
        """Read the digests that the subscriber printed."""
        del out
        return packets_of(program.events)

    def sound_pulled(self, program: Program, out: Path) -> Heard:
        """Listen to what moq-rs decoded."""
        del program
        return listen(SAMPLE_RATE, read_raw(out))

    def catalog_pulled(self, program: Program) -> Event:
        """Return what moq-rs understood of the catalog, as moqvox would put it."""
        event = program.all("catalog")[0]
        audio = event.fields["audio"]
        if not isinstance(audio, dict) or not audio:
            raise Failure("moq-rs found no audio in the catalog")
        track, fields = next(iter(audio.items()))
        return Event(event.at, event.name, {"track": track, **fields})

    async def refused(self, program: Program) -> None:
        """Check the exit code that the programs for moq-rs keep for this."""
        await program.finished(REFUSED)

    async def access(self, folder: Path) -> Access:
        """Use a fixed word."""
        del folder
        return SharedWord()

    async def certificate(self, stage: Stage, folder: Path) -> Certificate:
        """Do nothing: moq-rs has no program for it."""
        raise Skipped("moq-rs does not issue certificates")


def _client(row: Row, target: Target) -> list[str]:
    url = target.endpoint.url(row.transport, path=target.path, token=target.token)
    return [url, *moqrs.tls_arguments(target.endpoint)]


async def start_server(stage: Stage, row: Row, access: Access | None = None) -> Endpoint:
    """Start the server of moq-rs as a relay, on any free port."""
    host = f"[{row.host}]" if ":" in row.host else row.host
    arguments = ["--bind", f"{host}:0", "--tls-generate", "localhost", "--limit", "120"]
    if access is not None:
        word = access.token(root="room", publish=True, subscribe=True)
        arguments += ["--require-token", word]
    ready = await (await moqrs.start(stage, "server", arguments)).event("ready")
    return Endpoint(text(ready, "address"), text(ready, "fingerprint"))
