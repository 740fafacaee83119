/**
 * The microphone: frames of 20 ms, all that the browser hears.
 *
 * Where a page may read a track itself (`MediaStreamTrackProcessor`: Chrome, Edge), it does: what a
 * busy machine holds up waits there. WebAudio, which stands in elsewhere, draws from the microphone
 * on its own clock, and drops what comes in while it is held up.
 */

import { Encoder } from "./audio.js";
import { pause } from "./clock.js";
import { Unavailable } from "./errors.js";
import { SAMPLE_RATE } from "./opus.js";
import { resolvers } from "./streams.js";

/** Sound from before the button or the first loud sample, in frames. */
const PREROLL_FRAMES = 15;

const FRAMES_PER_SECOND = 50;

/** What is asked of the microphone; WebAudio's output is in its echo canceller's reach. */
const PROCESSING = Object.freeze({
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
});

/** How long a microphone may take to begin; with some sound systems it is a second or two. */
const FIRST_SOUND_MS = 3_000;

/** How long what was captured before a moment may take to come; then it is not waited for. */
const CATCH_UP_MS = 1_000;

/** Pieces, usually of 10 ms, that wait for a page that is held up; the oldest go first. */
const MAX_WAITING_PIECES = 3_000;

/** Cuts samples that come in pieces of any length into frames of one length. */
export class Framer {
  #frame;
  /** Samples of the frame under way. */
  filled = 0;
  #onFrame;

  constructor(size, onFrame) {
    this.#frame = new Float32Array(size);
    this.#onFrame = onFrame;
  }

  push(pcm) {
    for (let at = 0; at < pcm.length; ) {
      const count = Math.min(this.#frame.length - this.filled, pcm.length - at);
      this.#frame.set(pcm.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled < this.#frame.length) continue;
      const full = this.#frame;
      this.#frame = new Float32Array(full.length);
      this.filled = 0;
      this.#onFrame(full);
    }
  }
}

/** The mean of all channels of an `AudioData`. */
function mixed(data) {
  const pcm = new Float32Array(data.numberOfFrames);
  const channel = new Float32Array(data.numberOfFrames);
  for (let planeIndex = 0; planeIndex < data.numberOfChannels; planeIndex++) {
    data.copyTo(channel, { planeIndex, format: "f32-planar" });
    for (let at = 0; at < pcm.length; at++) pcm[at] += channel[at] / data.numberOfChannels;
  }
  return pcm;
}

/** An open microphone: frames of 20 ms at `sampleRate`, the last few kept. */
export class Microphone {
  level = 0;
  sampleRate = SAMPLE_RATE;
  #listeners = new Set();
  #stream;
  #context;
  #recent = [];
  #begun = resolvers();
  #reader = null;
  #node = null;
  #isClosed = false;
  /** Of `caughtUp`: each resolves once what was captured before its moment has been handed on. */
  #waiting = [];

  /**
   * Resolves once sound comes in: who is told to speak before that loses the first words.
   * Throws Unavailable "microphone" when there is none or the user refuses it.
   */
  static async open(context, processing = PROCESSING) {
    let stream;
    try {
      const audio = { channelCount: 1, ...processing };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      const refused = error.name === "NotAllowedError" || error.name === "SecurityError";
      const reason = refused ? "the microphone was refused" : "there is no microphone";
      throw new Unavailable("microphone", reason, { cause: error });
    }
    const microphone = new Microphone(context, stream);
    await Promise.race([microphone.#begun.promise, pause(FIRST_SOUND_MS)]);
    return microphone;
  }

  constructor(context, stream) {
    this.#context = context;
    this.#stream = stream;
    void this.#run();
  }

  /** Have `take(frame, level)` called with each frame. */
  addListener(take) {
    this.#listeners.add(take);
  }

  removeListener(take) {
    this.#listeners.delete(take);
  }

  /** What was heard just before now, oldest first. */
  preroll() {
    return this.#recent.slice();
  }

  /** Resolves when the listeners have all that was captured before now, within a second. */
  async caughtUp() {
    const { promise, resolve } = resolvers();
    const wanted = { sinceMs: performance.now(), resolve };
    this.#waiting.push(wanted);
    this.#node?.port.postMessage("caught up");
    await Promise.race([promise, pause(CATCH_UP_MS)]);
    this.#waiting = this.#waiting.filter((each) => each !== wanted);
  }

  close() {
    this.#isClosed = true;
    void this.#reader?.cancel().catch(() => {});
    this.#node?.disconnect();
    this.#node?.port.close();
    for (const track of this.#stream.getTracks()) track.stop();
  }

  async #run() {
    let isHeard = false;
    if (globalThis.MediaStreamTrackProcessor) {
      try {
        isHeard = await this.#readTrack();
      } catch (error) {
        isHeard = this.#recent.length > 0;
        console.warn("the microphone can't be read any more:", error);
      }
    }
    if (!this.#isClosed) this.#listen(isHeard);
  }

  /** Read the track to its end; false, with nothing taken, when that can't be done. */
  async #readTrack() {
    try {
      const [track] = this.#stream.getAudioTracks();
      const { readable } = new MediaStreamTrackProcessor({ track, maxBufferSize: MAX_WAITING_PIECES });
      this.#reader = readable.getReader();
    } catch {
      return false; // Safari has it in workers and for video alone
    }
    let framer = null;
    let leastDelayMs = Infinity;
    for (;;) {
      const { value: data, done } = await this.#reader.read();
      if (done) return framer !== null;
      const { sampleRate } = data;
      const endMs = (data.timestamp + data.duration) / 1000;
      const pcm = mixed(data);
      data.close();
      if (framer === null) {
        const size = sampleRate / FRAMES_PER_SECOND;
        if (!Number.isInteger(size) || !(await Encoder.takes(sampleRate))) {
          await this.#reader.cancel();
          return false;
        }
        this.sampleRate = sampleRate;
        framer = new Framer(size, (frame) => this.#take(frame));
      }
      framer.push(pcm);
      // Timestamps have a clock of their own; the quickest piece tells how it stands to ours.
      leastDelayMs = Math.min(leastDelayMs, performance.now() - endMs);
      this.#reach(endMs + leastDelayMs - (1000 * framer.filled) / sampleRate);
    }
  }

  /** Have WebAudio listen; behind a track that has ended (`isOver`) it only keeps the time. */
  #listen(isOver) {
    this.#node = new AudioWorkletNode(this.#context, "moqvox-capture", {
      numberOfInputs: 1,
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { keepsTime: isOver },
    });
    const size = this.sampleRate / FRAMES_PER_SECOND;
    this.#node.port.onmessage = ({ data }) => {
      if (data === "caught up") this.#reach(Infinity);
      else this.#take(isOver ? new Float32Array(size) : data);
    };
    if (!isOver) this.#context.createMediaStreamSource(this.#stream).connect(this.#node);
  }

  /** Note that all captured before a moment has been handed on. */
  #reach(ms) {
    for (const { sinceMs, resolve } of this.#waiting) if (sinceMs <= ms) resolve();
  }

  #take(frame) {
    this.#begun.resolve();
    let energy = 0;
    for (const sample of frame) energy += sample * sample;
    this.level = Math.sqrt(energy / frame.length);
    for (const take of [...this.#listeners]) take(frame, this.level);
    this.#recent.push(frame);
    if (this.#recent.length > PREROLL_FRAMES) this.#recent.shift();
  }
}
