"""WebRTC of Chromium, its defaults, to aiortc: the browser speaks, the RTP packets are kept.

The page's microphone is a WebAudio source that plays the prompt; Chromium encodes it anew, so
which frame a packet carries is found out afterwards, by its sound (`moqvox_client.lab.rtp`).
Signalling is one exchange over TLS on the same network, as for aiortc. There is no answer.
"""

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import tempfile
import time
import wave
from pathlib import Path
from typing import Final

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from moqvox_client.lab.frames import FRAME_NS
from moqvox_client.lab.job import BEGAN
from moqvox_client.lab.sides import (
    SETTLE_S,
    CallerSide,
    ServerSide,
    client_tls,
    come_forward,
    main,
    server_tls,
    take_along,
)

RATE: Final = 48_000
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
LOADING_S: Final = 30.0
MAX_BYTES: Final = 1 << 20
LOOK_S: Final = 0.01

PAGE: Final = """<!doctype html><meta charset="utf-8"><title>lab</title><script>
(async () => {
  const post = (path, body) => fetch(path, {method: "POST", body: JSON.stringify(body)});
  const context = new AudioContext({sampleRate: 48000});
  const sound = await (await fetch("/prompt.wav")).arrayBuffer();
  const source = new AudioBufferSourceNode(context, {buffer: await context.decodeAudioData(sound)});
  const microphone = new MediaStreamAudioDestinationNode(context, {channelCount: 1});
  source.connect(microphone);
  await context.resume();
  await (await post("/start", {})).json();
  source.start();
  const peer = new RTCPeerConnection();
  peer.onconnectionstatechange = () => post("/state", peer.connectionState);
  for (const track of microphone.stream.getAudioTracks()) peer.addTrack(track, microphone.stream);
  await peer.setLocalDescription();
  if (peer.iceGatheringState !== "complete")
    await new Promise(done => {
      peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
    });
  const {type, sdp} = peer.localDescription;
  await peer.setRemoteDescription(await (await post("/offer", {type, sdp})).json());
  window.kept = [peer, source];
})();
</script>"""


class _Front:
    """What the page asks for, on loopback: itself, the sound, when to start, and the answer."""

    def __init__(self, side: CallerSide) -> None:
        self.side = side
        self.loaded = asyncio.Event()
        self.go = asyncio.Event()
        self._sound = _wave(side.prompt)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            lengths = [line for line in head if line.lower().startswith("content-length:")]
            size = min(MAX_BYTES, int(lengths[0].split(":")[1])) if lengths else 0
            body = await reader.readexactly(size)
            kind, reply = await self._reply(head[0].split(" ")[1], body)
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(reply)}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            writer.write(reply)
            await writer.drain()
        writer.close()

    async def _reply(self, path: str, body: bytes) -> tuple[str, bytes]:
        if path == "/":
            return "text/html", PAGE.encode()
        if path == "/prompt.wav":
            return "audio/wav", self._sound
        if path == "/start":
            self.loaded.set()
            await self.go.wait()
        elif path == "/state":
            self.side.mark(str(json.loads(body)))
        elif path == "/offer":
            return "application/json", await self._exchange(body)
        return "application/json", b"{}"

    async def _exchange(self, offer: bytes) -> bytes:
        job = self.side.job
        reader, writer = await asyncio.open_connection(job.host, job.port, ssl=client_tls(job))
        self.side.mark("signalling")
        writer.write(offer + b"\n")
        answer = await reader.readline()
        writer.close()
        return answer


def _wave(packets: list[bytes]) -> bytes:
    """Decode the prompt for the page."""
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout, decoder.format = RATE, "mono", "s16"
    samples = bytearray()
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet)):
            samples += bytes(frame.planes[0])[: 2 * frame.samples]
    kept = io.BytesIO()
    with wave.open(kept, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(samples))
    return kept.getvalue()


async def call(side: CallerSide) -> None:
    """Let the browser load, then speak and call."""
    front = _Front(side)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0, limit=MAX_BYTES)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="moqvox-lab-", ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            *("nice", "-n", "10"),
            next(filter(None, map(shutil.which, NAMES))) or NAMES[0],
            *(*FLAGS, f"--user-data-dir={profile}", f"http://127.0.0.1:{port}/"),
            start_new_session=True,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        take_along(browser.pid)
        try:
            async with server:
                async with asyncio.timeout(LOADING_S):
                    await front.loaded.wait()
                come_forward(os.PRIO_PGRP, browser.pid)
                side.begin()
                front.go.set()
                await side.listen_to_the_end()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            await browser.wait()


async def take(side: ServerSide) -> None:
    """Take one caller, and keep each RTP packet as it comes."""
    rtp: list[tuple[int, int, str]] = []
    side.extra["rtp"] = rtp

    async def signal_(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offer = json.loads(await reader.readline())
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peers.append(peer)

        @peer.on("track")
        def on_track(incoming: MediaStreamTrack) -> None:
            tasks.create_task(_drain(incoming))

        await peer.setRemoteDescription(RTCSessionDescription(**offer))
        _keep(peer.getTransceivers()[0].receiver, rtp)
        await peer.setLocalDescription(await peer.createAnswer())
        answer = peer.localDescription
        writer.write(json.dumps({"sdp": answer.sdp, "type": answer.type}).encode() + b"\n")
        await writer.drain()
        writer.close()

    peers: list[RTCPeerConnection] = []
    async with asyncio.TaskGroup() as tasks:
        server = await asyncio.start_server(
            signal_, side.job.host, side.job.port, ssl=server_tls(side.job), limit=MAX_BYTES
        )
        async with server:
            side.ready()
            began = Path(side.job.folder, BEGAN)
            while not (began.exists() and began.stat().st_size):
                await asyncio.sleep(LOOK_S)
            over_ns = int(began.read_text()) + len(side.ear.expected) * FRAME_NS
            await asyncio.sleep(max(0.0, (over_ns - time.monotonic_ns()) / 1e9) + SETTLE_S)
            side.heard()
            await asyncio.Event().wait()


def _keep(receiver: RTCRtpReceiver, rtp: list[tuple[int, int, str]]) -> None:
    handle = receiver._handle_rtp_packet  # noqa: SLF001 - aiortc shows packets nowhere else

    async def noting(packet: object, arrival_time_ms: int) -> None:
        payload = bytes(getattr(packet, "payload", b""))
        if payload:
            timestamp = int(getattr(packet, "timestamp", 0))
            rtp.append((timestamp, time.monotonic_ns(), payload.hex()))
        await handle(packet, arrival_time_ms=arrival_time_ms)

    receiver._handle_rtp_packet = noting  # noqa: SLF001


async def _drain(track: MediaStreamTrack) -> None:
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()


if __name__ == "__main__":
    main(call, take)
