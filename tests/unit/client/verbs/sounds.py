"""Small audio files."""

import math
from array import array

from moqvox.media import ogg
from moqvox.media.codec import Encoder, StreamEncoder
from moqvox.media.wav import wav_header


def pcm(seconds=0.3, rate=48_000):
    step = 2 * math.pi * 440 / rate
    samples = (int(8000 * math.sin(step * n)) for n in range(round(seconds * rate)))
    return array("h", samples).tobytes()


def wav_file(path, seconds=0.3, rate=48_000):
    data = pcm(seconds, rate)
    path.write_bytes(wav_header(rate, 1, len(data)) + data)
    return path


def opus_packets(seconds=0.3):
    return StreamEncoder(Encoder(48_000, 1, 24_000, 20)).push(pcm(seconds))


def ogg_file(path, seconds=0.3):
    writer = ogg.Writer()
    data = b"".join(writer.write(packet) for packet in opus_packets(seconds))
    path.write_bytes(data + writer.finish())
    return path


def packets_of(path):
    reader = ogg.Reader()
    packets = [packet.payload for packet in reader.push(path.read_bytes())]
    reader.finish()
    return packets
