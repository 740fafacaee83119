"""Print a tone as the Opus packets of moq-rs' codec; needs no network."""

import argparse
import base64

from interop.payload import digest
from interop.peers.moqrs.speech import emit, main, parser
from interop.peers.moqrs.tone import PACKET_US, encode_tone


def _options() -> argparse.Namespace:
    made = parser("encode a tone")
    made.add_argument("--tone", type=float, default=440.0, metavar="HZ")
    made.add_argument("--duration-ms", type=int, default=1000)
    return made.parse_args()


async def _encode(args: argparse.Namespace) -> None:
    head, packets = await encode_tone(args.tone, args.duration_ms)
    emit("head", data=base64.b64encode(head).decode())
    for index, packet in enumerate(packets):
        text = base64.b64encode(packet).decode()
        emit("packet", index=index, size=len(packet), sha256=digest(packet), data=text)
    emit("done", packets=len(packets), packet_us=PACKET_US)


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _encode(options))
