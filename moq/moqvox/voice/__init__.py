"""Voice on MoQ: utterances, responses, and what was really heard.

An agent takes calls with `serve` (a UDP port of its own) or `attend` (behind a relay);
a caller makes one with `call`. `docs/voice-protocol.md` says what crosses the wire.
"""

from moqvox.voice.call import Call
from moqvox.voice.calling import call
from moqvox.voice.journal import Bounds, Journal
from moqvox.voice.keep import Keep
from moqvox.voice.playback import Account, Playback
from moqvox.voice.rehearsal import prepare
from moqvox.voice.response import Response
from moqvox.voice.serve import Desk, attend, serve
from moqvox.voice.session import Session
from moqvox.voice.speech import Speech
from moqvox.voice.utterance import Packet, Utterance
from moqvox.voice.words import Caption, Message, Played, Receipt

__all__ = [
    "Account",
    "Bounds",
    "Call",
    "Caption",
    "Desk",
    "Journal",
    "Keep",
    "Message",
    "Packet",
    "Playback",
    "Played",
    "Receipt",
    "Response",
    "Session",
    "Speech",
    "Utterance",
    "attend",
    "call",
    "prepare",
    "serve",
]
