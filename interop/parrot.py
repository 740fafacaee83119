"""An agent that says again what it hears: `moqvox serve --agent interop.parrot:agent`."""

from moqvox import voice

__all__ = ["agent"]


async def agent(session: voice.Session) -> None:
    """Take one call."""
    async for utterance in session.utterances():
        response = session.respond()
        async for packet in utterance.opus():
            await response.write_packet(packet.opus)
        response.finish()
