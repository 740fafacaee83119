/** The browser's audio: Opus by WebCodecs, the worklets that carry samples, and who speaks. */

import { SAMPLE_RATE } from "./opus.js";
import { resolvers, unattended } from "./streams.js";

const BITRATE = 24_000;

/** What this browser lacks for a call: names, empty if nothing. */
export function missing() {
  const needs = {
    WebSocket: globalThis.WebTransport ?? globalThis.WebSocket,
    AudioEncoder: globalThis.AudioEncoder,
    AudioDecoder: globalThis.AudioDecoder,
    AudioWorklet: globalThis.AudioWorkletNode,
    "a secure page (https, or http on localhost)": globalThis.isSecureContext,
  };
  return Object.keys(needs).filter((name) => !needs[name]);
}

/** An audio context at Opus's own rate, with both worklets loaded. */
export async function openContext() {
  const context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
  const modules = ["./playout-worklet.js", "./capture-worklet.js"];
  await Promise.all(
    modules.map((name) => context.audioWorklet.addModule(new URL(name, import.meta.url))),
  );
  return context;
}

/** What a WebCodecs encoder is asked for; it resamples what is not of Opus's own rate. */
const encoding = (sampleRate, bitrate) => ({
  codec: "opus",
  sampleRate,
  numberOfChannels: 1,
  bitrate,
  opus: { frameDuration: 20_000, application: "voip", signal: "voice" },
});

/** PCM of one rate, mono, in; Opus packets of 20 ms out, in order. */
export class Encoder {
  #encoder;
  #sampleRate;
  #pushed = 0;
  #failed = resolvers();

  /** Whether PCM of this rate can be taken. */
  static async takes(sampleRate) {
    const { supported } = await AudioEncoder.isConfigSupported(encoding(sampleRate, BITRATE));
    return supported;
  }

  constructor(onPacket, { bitrate = BITRATE, sampleRate = SAMPLE_RATE } = {}) {
    unattended(this.#failed.promise);
    this.#sampleRate = sampleRate;
    this.#encoder = new AudioEncoder({
      output: (chunk) => {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        onPacket(packet);
      },
      error: (error) => this.#failed.reject(error),
    });
    this.#encoder.configure(encoding(sampleRate, bitrate));
  }

  /** Encode Float32 samples of any length. */
  push(pcm) {
    const data = new AudioData({
      format: "f32-planar",
      sampleRate: this.#sampleRate,
      numberOfFrames: pcm.length,
      numberOfChannels: 1,
      timestamp: Math.round((this.#pushed / this.#sampleRate) * 1e6),
      data: pcm,
    });
    this.#pushed += pcm.length;
    this.#encoder.encode(data);
    data.close();
  }

  /** Resolves when the last packet has come out. */
  async finish() {
    await Promise.race([this.#encoder.flush(), this.#failed.promise]);
    this.close();
  }

  close() {
    if (this.#encoder.state !== "closed") this.#encoder.close();
  }
}

/**
 * Opus packets in, frames of exactly their length out, in order: `onFrame(timestampUs, pcm)`.
 * A packet that can't be decoded is silence of its length.
 */
export class Decoder {
  undecodable = 0;
  #onFrame;
  #decoder;
  #waiting = [];
  #decoded = [];
  #available = 0;

  constructor(onFrame) {
    this.#onFrame = onFrame;
    this.#open();
  }

  /** How many packets are on their way through. */
  get pending() {
    return this.#waiting.length;
  }

  push({ timestampUs, durationUs, packet }) {
    this.#waiting.push({ timestampUs, packet, samples: Math.round(durationUs * 0.048) });
    this.#decode(timestampUs, packet);
  }

  async flush() {
    while (this.#waiting.length && this.#decoder.state === "configured") {
      try {
        await this.#decoder.flush();
        return;
      } catch {
        // A packet broke the decoder; the ones behind it go through a new one.
      }
    }
  }

  close() {
    if (this.#decoder.state !== "closed") this.#decoder.close();
    this.#waiting = [];
  }

  #decode(timestamp, data) {
    if (this.#decoder.state !== "configured") return;
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data }));
  }

  #open() {
    this.#decoder = new AudioDecoder({
      output: (data) => this.#take(data),
      error: () => this.#recover(),
    });
    this.#decoder.configure({ codec: "opus", sampleRate: SAMPLE_RATE, numberOfChannels: 1 });
  }

  #take(data) {
    const pcm = new Float32Array(data.numberOfFrames);
    data.copyTo(pcm, { planeIndex: 0, format: "f32-planar" });
    data.close();
    this.#decoded.push(pcm);
    this.#available += pcm.length;
    while (this.#waiting.length && this.#available >= this.#waiting[0].samples) {
      const { timestampUs, samples } = this.#waiting.shift();
      this.#onFrame(timestampUs, this.#cut(samples));
    }
  }

  /** Take the next `samples` of what was decoded. */
  #cut(samples) {
    this.#available -= samples;
    if (this.#decoded[0].length === samples) return this.#decoded.shift();
    const pcm = new Float32Array(samples);
    for (let at = 0; at < samples; ) {
      const head = this.#decoded[0];
      const count = Math.min(head.length, samples - at);
      pcm.set(head.subarray(0, count), at);
      at += count;
      if (count === head.length) this.#decoded.shift();
      else this.#decoded[0] = head.subarray(count);
    }
    return pcm;
  }

  /** Replace the packet that broke the decoder by silence, and go on behind it. */
  #recover() {
    const broken = this.#waiting.shift();
    if (!broken) return;
    this.undecodable += 1;
    this.#decoded = [];
    this.#available = 0;
    this.#onFrame(broken.timestampUs, new Float32Array(broken.samples));
    this.#open();
    for (const { timestampUs, packet } of this.#waiting) this.#decode(timestampUs, packet);
  }
}

/** Tells when someone speaks: louder than the room for a moment, until quiet for a while. */
export class VoiceGate {
  speaking = false;
  #floor = 0.01;
  #loud = 0;
  #quiet = 0;
  #hangoverFrames;

  constructor({ hangoverMs = 900 } = {}) {
    this.#hangoverFrames = hangoverMs / 20;
  }

  /** Take a frame's level (root mean square); returns "begin", "end" or null. */
  take(level) {
    // Slower while someone speaks; but a noise that never pauses becomes the room.
    const rise = this.speaking ? 0.0003 : 0.002;
    this.#floor += (level - this.#floor) * (level > this.#floor ? rise : 0.1);
    const loud = level > Math.max(0.008, 3 * this.#floor);
    this.#loud = loud ? this.#loud + 1 : 0;
    this.#quiet = loud ? 0 : this.#quiet + 1;
    if (!this.speaking && this.#loud >= 3) {
      this.speaking = true;
      return "begin";
    }
    if (this.speaking && this.#quiet >= this.#hangoverFrames) {
      this.speaking = false;
      return "end";
    }
    return null;
  }
}
