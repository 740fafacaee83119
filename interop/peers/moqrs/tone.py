"""A tone as Opus packets, made by the codec inside moq-rs."""

import array
import math

import moq

SAMPLE_RATE = 48_000
PACKET_US = 20_000
PACKET_SAMPLES = SAMPLE_RATE * PACKET_US // 1_000_000

AMPLITUDE = 0.5


def tone_pcm(frequency_hz: float, first_sample: int, samples: int) -> bytes:
    """Make signed 16-bit samples of a sine that continues from `first_sample`."""
    step = 2 * math.pi * frequency_hz / SAMPLE_RATE
    peak = AMPLITUDE * 32767
    wave = (round(peak * math.sin(step * n)) for n in range(first_sample, first_sample + samples))
    return array.array("h", wave).tobytes()


def varint(data: bytes) -> tuple[int, int]:
    """Decode a QUIC varint (RFC 9000, section 16): its value and its length."""
    length = 1 << (data[0] >> 6)
    return int.from_bytes(data[:length], "big") & ((1 << (8 * length - 2)) - 1), length


def open_encoder(broadcast: moq.BroadcastProducer, track: str) -> moq.AudioProducer:
    """Add an Opus track that moq-rs encodes: mono, 32 kbit/s, packets of 20 ms."""
    return broadcast.encode_audio(
        track,
        moq.AudioEncoderInput(
            format=moq.AudioSampleFormat.S16, sample_rate=SAMPLE_RATE, channels=1
        ),
        moq.AudioEncoderOutput(
            codec=moq.AudioCodec.opus(), bitrate=32_000, frame_duration_us=PACKET_US
        ),
    )


def write_tone(encoder: moq.AudioProducer, frequency_hz: float, packet: int) -> None:
    """Give the encoder the 20 ms of a tone that make its packet number `packet`."""
    pcm = tone_pcm(frequency_hz, packet * PACKET_SAMPLES, PACKET_SAMPLES)
    encoder.write(moq.AudioFrame(timestamp_us=packet * PACKET_US, data=pcm))


async def encode_tone(frequency_hz: float, duration_ms: int) -> tuple[bytes, list[bytes]]:
    """Encode a tone: its OpusHead, and packets of 20 ms, one more for what the codec holds back.

    moq-rs has no bare encoder: the tone is published on a broadcast nobody else can see and
    the packets are read off it, without the timestamp that the `legacy` container puts in
    front and without its empty end marker.
    """
    hidden = moq.BroadcastProducer()
    encoder = open_encoder(hidden, "audio")
    broadcast = hidden.consume()
    head = (await broadcast.catalog()).audio["audio"].description or b""
    reading = await broadcast.subscribe_track("audio", moq.Subscription(max_age_us=3_600_000_000))
    for packet in range(duration_ms * 1000 // PACKET_US):
        write_tone(encoder, frequency_hz, packet)
    encoder.finish()
    packets = []
    async for group in reading:
        async for frame in group:
            _, skip = varint(frame.payload)
            if len(frame.payload) > skip:
                packets.append(frame.payload[skip:])
    return head, packets
