"""The systems that can be compared, by the names that `--against` takes."""

import shutil
import sys
from typing import Final

import msgspec

from moqvox_client.lab.environments import Requirement, environment_of
from moqvox_client.lab.network import own_environment

__all__ = ["OURS", "SYSTEMS", "System"]


class System(msgspec.Struct, frozen=True):
    """Something that carries voice.

    Attributes:
        module: of `moqvox_client.lab.peers`.
        what: one line for people.
        tcp: whether any of it goes over TCP.
        needs: packages beyond our own; None for none.
        environment: whose packages it uses, if another module's.
        programs: names of a program of which it needs one on the PATH; none if it needs none.
        options: what its programs are told.
        answers: whether it carries answers here; its runs have none otherwise.
        weight: of how many runs of the others it takes the room.
    """

    name: str
    module: str
    what: str
    tcp: bool = False
    needs: Requirement | None = None
    environment: str = ""
    programs: tuple[str, ...] = ()
    options: dict[str, str] = {}
    weight: int = 1
    answers: bool = True

    @property
    def obstacle(self) -> str:
        """Say why it can't run here; "" when it may."""
        if not self.programs or any(map(shutil.which, self.programs)):
            return ""
        return f"{self.name} needs the program {self.programs[0]}, which is not installed"

    def interpreter(self) -> tuple[str, dict[str, str]]:
        """Find (or make) the Python it runs on, and its variables.

        Raises:
            Failed: its environment can't be made.
        """
        if self.needs is None:
            return sys.executable, own_environment()
        return environment_of(self.environment or self.module, self.needs)


GRPC: Final = Requirement(("grpcio==1.85.3",), "grpc")
AIORTC: Final = Requirement(("aiortc==1.16.0",), "aiortc")
MOQ_RS: Final = Requirement(("moq-rs==0.5.1", "moq-ffi==0.4.18"), "moq")
NOTIFIED: Final = {"notified": "yes"}

_ALL: Final = (
    System("moqvox", "moqvox", "moqvox.voice on raw QUIC"),
    System(
        "moqvox-webtransport",
        "moqvox",
        "moqvox.voice on WebTransport",
        options={"webtransport": "yes"},
    ),
    System(
        "moqvox-resumed",
        "moqvox",
        "moqvox.voice on raw QUIC, by a caller that was here before",
        options={"resumed": "yes"},
    ),
    System("websocket", "websocket", "websockets over TLS", tcp=True),
    System(
        "websocket-notified",
        "websocket",
        "websockets over TLS, dialling again when told of a new address",
        tcp=True,
        options=NOTIFIED,
    ),
    System("grpc", "grpc", "grpcio bidirectional stream over TLS", tcp=True, needs=GRPC),
    System(
        "grpc-notified",
        "grpc",
        "the same, dialling again when told of a new address",
        tcp=True,
        needs=GRPC,
        options=NOTIFIED,
    ),
    System(
        "aiortc",
        "aiortc",
        "aiortc's WebRTC, its defaults, TLS signalling over the same network",
        tcp=True,
        needs=AIORTC,
    ),
    System(
        "aiortc-notified",
        "aiortc",
        "the same, connecting anew when told of a new address",
        tcp=True,
        needs=AIORTC,
        options=NOTIFIED,
    ),
    System(
        "chromium-webrtc",
        "chromium",
        "Chromium's WebRTC to aiortc, TLS signalling over the same network",
        tcp=True,
        needs=AIORTC,
        environment="aiortc",
        programs=("chromium", "chromium-browser", "google-chrome"),
        answers=False,
        weight=2,
    ),
    System("moq-rs", "moqrs", "moq-rs, subscriber with 500 ms maximum age", needs=MOQ_RS),
    System("aioquic", "aioquic", "plain aioquic, one stream for the prompt"),
)

SYSTEMS: Final = {system.name: system for system in _ALL}
OURS: Final = "moqvox"
