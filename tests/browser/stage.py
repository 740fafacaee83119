"""An agent, a site and a browser: what every browser test needs."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from tests.browser.chromium import Page, chromium
from tests.browser.tab import Tab

from moqvox import voice
from moqvox.media.codec import Decoder
from moqvox.media.resample import Resampler
from moqvox.media.wav import encode_wav
from moqvox_client.link import Impairment, Link, Settings
from moqvox_client.speech.recordings import recording
from moqvox_client.stage import Network, staged

RATE = 48_000

Agent = Callable[[voice.Session], Awaitable[None]]


def speech_pcm(name: str = "ill-disposed") -> bytes:
    """A human sentence as s16le at 48 kHz."""
    clip = recording(name)
    resampler = Resampler(clip.sample_rate, RATE, 1)
    return resampler.push(clip.pcm) + resampler.flush()


def microphone_wav(folder: Path, pcm: bytes, *, before: float = 1.0, after: float = 60.0) -> Path:
    """What the fake microphone plays: silence, the sentence, silence."""
    silence = bytes(2 * RATE)
    file = folder / "microphone.wav"
    padded = bytes(int(before * RATE) * 2) + pcm + silence * int(after)
    file.write_bytes(encode_wav(padded, RATE, 1))
    return file


def decoded(packets: list[bytes]) -> np.ndarray:
    """Opus packets to float samples at 48 kHz."""
    decoder = Decoder(RATE, 1)
    pcm = b"".join(decoder.decode(packet) for packet in packets)
    return np.frombuffer(pcm, "<i2").astype(np.float64) / 32768


@asynccontextmanager
async def answering(
    agent: Agent, *, impairment: Impairment | None = None
) -> AsyncIterator[Network]:
    """Run `agent` behind the page of `moqvox demo --page`; any browser may open it."""
    settings = Settings.both(impairment or Impairment())
    async with staged(settings=settings) as set_up, asyncio.TaskGroup() as tasks:
        calls: list[asyncio.Task] = []

        async def take_calls() -> None:
            async for session in set_up.desk:
                task = tasks.create_task(agent(session))
                calls.append(task)

        taking = tasks.create_task(take_calls())
        yield set_up.network
        # A call outlives its connection by its grace, which nobody waits for here.
        for task in (taking, *calls):
            task.cancel()


@asynccontextmanager
async def stage(
    agent: Agent,
    *,
    microphone: Path | None = None,
    impairment: Impairment | None = None,
    flags: tuple[str, ...] = (),
    path: str = "",
) -> AsyncIterator[tuple[Page, Network, Link]]:
    """Open the page of `moqvox demo --page`, with `agent` behind it, at `path` in Chromium."""
    async with (
        answering(agent, impairment=impairment) as network,
        chromium(microphone=microphone, flags=flags) as page,
    ):
        await page.open(network.page + path)
        yield page, network, network.link


async def begin_call(page: Tab) -> None:
    """Call the agent from a blank page; see caller.js for what `window.seen` then has."""
    await page.run((Path(__file__).parent / "caller.js").read_text())


async def put_out(page: Tab) -> tuple[int, np.ndarray]:
    """What the worklet has really put out: its first frame's number, and the samples."""
    # The capture comes in blocks of 200 ms; let the last one fill.
    await asyncio.sleep(0.3)
    output = await page.run("seen.output()")
    return output["frame"], np.frombuffer(base64.b64decode(output["pcm"]), "<f4").astype(float)


def as_texts(packets: Iterable[bytes]) -> list[str]:
    """Packets as caller.js's `say` takes them."""
    return [base64.b64encode(packet).decode() for packet in packets]


def aligned(wanted: np.ndarray, found: np.ndarray) -> tuple[int, float]:
    """Where `wanted` lies in `found` best, and how alike they are there (1 = the same)."""
    size = len(wanted) + len(found)
    spectrum = np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size))
    products = np.fft.irfft(spectrum, size)[: max(1, len(found) - len(wanted) + 1)]
    at = int(np.argmax(products))
    there = found[at : at + len(wanted)]
    norm = np.linalg.norm(wanted[: len(there)]) * np.linalg.norm(there)
    return at, float(np.dot(wanted[: len(there)], there) / norm) if norm else 0.0


def in_place(source: bytes, heard: np.ndarray) -> float:
    """The share of half seconds that are found where they belong, within 20 ms.

    A browser's own suppression of noise and control of gain leave no waveform as it was.
    """
    said, size = np.frombuffer(source, "<i2").astype(float) / 32768, RATE // 2
    begins = range(0, len(said) - size, size)
    lags = np.array([aligned(said[at : at + size], heard)[0] - at for at in begins])
    return float(np.mean(np.abs(lags - np.median(lags)) <= RATE // 50))
