"""WebRTC with aiortc, its defaults: Opus packets as given, in RTP, at the pace of real time.

Signalling is one HTTPS-like exchange (TLS, an offer, an answer) over the same network. No
frame is kept while the connection is being made, and none is sent again: aiortc has neither
RED nor FEC nor NACK for audio. A frame counts as arrived when its RTP packet does, before
any jitter buffer. The answer can't be handed over at once, only in real time.
"""

import asyncio
import contextlib
import fractions
import json
from typing import Final

import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from moqvox_client.lab.frames import FRAME_NS
from moqvox_client.lab.sides import (
    CallerSide,
    ServerSide,
    address_towards,
    another_address,
    client_tls,
    main,
    server_tls,
)

CLOCK: Final = 48_000
FRAME_TICKS: Final = CLOCK * FRAME_NS // 1_000_000_000
MAX_SDP_BYTES: Final = 1 << 20


class _Speaking(MediaStreamTrack):  # type: ignore[misc]  # aiortc has no types here
    """Gives out Opus packets as they are; the time before the first one is not made up for."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def recv(self) -> av.Packet:
        index, frame = await self.queue.get()
        packet = av.Packet(frame)
        packet.pts = index * FRAME_TICKS
        packet.time_base = fractions.Fraction(1, CLOCK)
        return packet


class _Tap:
    """Reads RTP packets on their way into a receiver: by content and order, as numbers differ."""

    def __init__(self, expected: list[bytes]) -> None:
        self._expected = expected
        self._base: int | None = None

    def index(self, timestamp: int, payload: bytes) -> int:
        """Number a packet: the first one by its content, the rest by their timestamps."""
        if self._base is None:
            found = self._expected.index(payload) if payload in self._expected else 0
            self._base = timestamp - found * FRAME_TICKS
        return ((timestamp - self._base) & 0xFFFFFFFF) // FRAME_TICKS


def _listen(receiver: RTCRtpReceiver, side: CallerSide | ServerSide) -> None:
    """Note each packet of a receiver, and throw away what it decodes."""
    tap = _Tap(side.ear.expected)
    handle = receiver._handle_rtp_packet  # noqa: SLF001 - aiortc shows packets nowhere else

    async def noting(packet: object, arrival_time_ms: int) -> None:
        payload = bytes(getattr(packet, "payload", b""))
        if payload:
            side.ear.take(tap.index(int(getattr(packet, "timestamp", 0)), payload), payload)
        await handle(packet, arrival_time_ms=arrival_time_ms)

    receiver._handle_rtp_packet = noting  # noqa: SLF001


async def _drain(track: MediaStreamTrack) -> None:
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()


async def call(side: CallerSide) -> None:
    """Speak from the first moment on; what is spoken before the connection stands is lost."""
    current: list[_Speaking] = []
    side.begin()

    async def capture() -> None:
        async for numbered in side.speech():
            if current and current[-1].live:
                current[-1].queue.put_nowait(numbered)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(capture())]
        running.append(tasks.create_task(_reconnecting(side, current)))
        await side.listen_to_the_end()
        for task in running:
            task.cancel()


async def _reconnecting(side: CallerSide, current: list[_Speaking]) -> None:
    while True:
        own = address_towards(side.job.host, side.job.port)
        async with asyncio.TaskGroup() as tasks:
            attempt = tasks.create_task(_once(side, current))
            if side.job.options.get("notified"):
                await another_address(side.job, own)
                side.mark("noticed")
                attempt.cancel()
            else:
                await asyncio.Event().wait()


async def _once(side: CallerSide, current: list[_Speaking]) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    track = _Speaking()
    track.live = False
    sender = peer.addTransceiver(track, "sendrecv")
    _listen(sender.receiver, side)

    @peer.on("track")
    def on_track(incoming: MediaStreamTrack) -> None:
        draining.append(asyncio.ensure_future(_drain(incoming)))  # noqa: TID251 - a callback

    @peer.on("connectionstatechange")
    def on_state() -> None:
        if peer.connectionState == "connected":
            side.mark("connected")
            track.live = True

    draining: list[asyncio.Future[None]] = []
    try:
        await peer.setLocalDescription(await peer.createOffer())
        reader, writer = await asyncio.open_connection(
            side.job.host, side.job.port, ssl=client_tls(side.job)
        )
        side.mark("signalling")
        writer.write(_line(peer.localDescription))
        answer = json.loads(await reader.readline())
        writer.close()
        current.append(track)
        await peer.setRemoteDescription(RTCSessionDescription(**answer))
        await asyncio.Event().wait()
    finally:
        for task in draining:
            task.cancel()
        await peer.close()


async def take(side: ServerSide) -> None:
    """Take callers until told to stop."""
    peers: list[RTCPeerConnection] = []

    async def signal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offer = json.loads(await reader.readline())
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peers.append(peer)
        track = _Speaking()

        @peer.on("track")
        def on_track(incoming: MediaStreamTrack) -> None:
            tasks.create_task(_drain(incoming))

        await peer.setRemoteDescription(RTCSessionDescription(**offer))
        transceiver = peer.getTransceivers()[0]
        peer.addTrack(track)
        _listen(transceiver.receiver, side)
        await peer.setLocalDescription(await peer.createAnswer())
        writer.write(_line(peer.localDescription))
        await writer.drain()
        tracks.append(track)

    tracks: list[_Speaking] = []
    async with asyncio.TaskGroup() as tasks:
        server = await asyncio.start_server(
            signal, side.job.host, side.job.port, ssl=server_tls(side.job), limit=MAX_SDP_BYTES
        )
        async with server:
            side.ready()
            await side.prompt_over()
            side.heard()  # what is late by now was dropped
            async for numbered in side.reply(pace=side.job.pace or 1.0):
                tracks[-1].queue.put_nowait(numbered)
            await asyncio.Event().wait()


def _line(description: RTCSessionDescription) -> bytes:
    return json.dumps({"sdp": description.sdp, "type": description.type}).encode() + b"\n"


if __name__ == "__main__":
    main(call, take)
