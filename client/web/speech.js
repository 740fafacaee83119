/**
 * The two halves of a turn: a `Speech` on its way out, a `Response` on its way in.
 * docs/voice-protocol.md says what crosses the wire; moqvox/voice is the other side.
 */

import { LocalError, MediaError, StreamCode } from "./errors.js";
import { decodeLegacy, encodeLegacy } from "./frames.js";
import { packetDurationUs } from "./opus.js";
import { Signal, resolvers, unattended } from "./streams.js";
import { concat } from "./varint.js";

/** Most that is held of one response; a longer one is cut. */
const MAX_RESPONSE_BYTES = 64 * 1024 * 1024;

/** SHA-256 over each frame's length (4 bytes, big-endian) and bytes, hex. */
export async function digestOf(payloads) {
  const parts = payloads.flatMap((payload) => {
    const size = new Uint8Array(4);
    new DataView(size.buffer).setUint32(0, payload.length);
    return [size, payload];
  });
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", concat(parts)));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One utterance: on each leg a group of the `audio` track, kept until its receipt came. */
export class Speech {
  finished = false;
  bytes = 0;
  ackedFrames = 0;
  receipt = null;
  /** Whether what arrived is what was sent, to the byte; null until that is known. */
  intact = null;
  cancelled = false;
  durationUs = 0;
  beganMs = performance.now();
  finishedMs = null;
  /** Where its packets come from, if that has to be drained before its end: `() => Promise`. */
  drain = null;
  firstAckMs = null;
  receiptMs = null;
  #frames = [];
  /** Its groups on the legs that are written to, the latest last. */
  #groups = [];
  #changed;
  #receipted = resolvers();

  /** `changed(speech)` is called whenever something about it is new. */
  constructor(number, startUs, changed) {
    this.number = number;
    this.startUs = startUs;
    this.#changed = changed;
    unattended(this.#receipted.promise);
  }

  get frames() {
    return this.#frames.length;
  }

  /** Opus packets so far, in order. */
  get packets() {
    return this.#frames.map(({ payload }) => decodeLegacy(payload).packet);
  }

  /** Whether the other side may still lack some of it. */
  get isOwed() {
    return !this.receipt && !this.cancelled;
  }

  /** Frames from one number up to another. */
  kept(from, to) {
    return this.#frames.slice(from, to);
  }

  /**
   * Go on in a group of a new leg, with frame `from` as its first; with `beside`, what comes goes
   * to the leg before as well, until `stay`.
   */
  attach(group, from, { beside = false } = {}) {
    for (const { payload, timestampUs } of this.kept(from)) group.write(payload, timestampUs);
    if (this.finished) group.finish();
    this.#groups = beside ? [...this.#groups.slice(-1), group] : [group];
  }

  /** Write to the latest leg alone. */
  stay() {
    this.#groups.splice(0, this.#groups.length - 1);
  }

  /** Resolves with the receiver's receipt; rejects when the utterance was taken back. */
  get receipted() {
    return this.#receipted.promise;
  }

  /** Send one Opus packet; it is kept, also while there is no connection. */
  write(packet) {
    if (this.finished) throw new LocalError("an utterance that was ended takes no more");
    const durationUs = packetDurationUs(packet);
    const timestampUs = this.startUs + this.durationUs;
    this.durationUs += durationUs;
    const payload = encodeLegacy(timestampUs, packet);
    this.bytes += payload.length;
    this.#frames.push({ payload, timestampUs });
    for (const group of this.#groups) group.write(payload, timestampUs);
    this.#changed(this);
  }

  /** All was said; what its source still holds is sent before the end. */
  finish() {
    if (this.drain) {
      const { drain } = this;
      this.drain = () => new Promise(() => {});
      const end = () => {
        this.drain = null;
        this.finish();
      };
      drain().then(end, end);
      return;
    }
    if (this.finished) return;
    this.finished = true;
    for (const group of this.#groups) group.finish();
    this.finishedMs = performance.now();
    this.#changed(this);
  }

  /** Take it back. Returns whether there was something to take back. */
  cancel(code = StreamCode.CANCELLED) {
    if (this.cancelled || this.receipt) return false;
    this.cancelled = true;
    this.finished = true;
    for (const group of this.#groups) group.abort(code);
    for (const group of this.#groups) group.settle();
    this.#receipted.reject(new LocalError("the utterance was taken back"));
    this.#changed(this);
    return true;
  }

  /** Take an `ack`. */
  acknowledge(frames) {
    this.firstAckMs ??= performance.now();
    this.ackedFrames = Math.max(this.ackedFrames, frames);
    this.#changed(this);
  }

  /** Take a `receipt`; the group need not be kept for a new connection any more. */
  async settle(receipt) {
    if (!receipt.complete || this.receipt) return;
    this.receipt = receipt;
    this.receiptMs = performance.now();
    this.ackedFrames = receipt.frames;
    for (const group of this.#groups) group.settle();
    const sent = this.#frames.map(({ payload }) => payload);
    const digest = await digestOf(sent);
    this.intact = receipt.frames === sent.length && receipt.digest === digest;
    this.#receipted.resolve(receipt);
    this.#changed(this);
  }
}

/** One response: readable from its first frame on, by any number of readers. */
export class Response {
  packets = [];
  ended = false;
  /** The agent's process died before all was said: this is the end, but not a whole one. */
  isShort = false;
  cancelled = false;
  durationUs = 0;
  captions = [];
  beganMs = performance.now();
  soundedMs = null;
  /** What the playback last told: `{ heardUs, state, silenceUs, underruns, leadUs }`. */
  heard = null;
  changed = new Signal();
  /** Legs begun while it was under way. */
  resumptions = 0;
  /** Frames that never came, as `[first, last]`: the agent had let go of them. */
  missing = [];
  #payloads = [];
  #absent = 0;
  #bytes = 0;
  #fastest = Infinity;
  #slowest = -Infinity;
  #last = 0;

  /** `number` names it on the wire, `item` in playout, where numbers are never used again. */
  constructor(number, item) {
    this.number = number;
    this.item = item;
  }

  get over() {
    return this.ended || this.cancelled;
  }

  get frames() {
    return this.#payloads.length;
  }

  /** The number of the next frame. */
  get next() {
    return this.#payloads.length + this.#absent;
  }

  /** So many frames are there, from the first on. */
  get unbroken() {
    return this.missing.length ? this.missing[0][0] : this.next;
  }

  /** Frames up to `next` will not come. */
  skipTo(next) {
    this.missing.push([this.next, next - 1]);
    this.#absent += next - this.next;
  }

  /** The first frame's bytes, by which a replay is told from another response. */
  get firstPayload() {
    return this.#payloads[0] ?? null;
  }

  /** Take one frame; false for an end marker. */
  add(payload, nowMs) {
    const { timestampUs, packet } = decodeLegacy(payload);
    if (!packet.length) return false;
    if (this.#bytes + payload.length > MAX_RESPONSE_BYTES) {
      throw new MediaError(`a response of more than ${MAX_RESPONSE_BYTES} bytes`);
    }
    const durationUs = packetDurationUs(packet);
    this.#bytes += payload.length;
    this.#payloads.push(payload);
    this.packets.push({ timestampUs, durationUs, packet });
    this.durationUs += durationUs;
    this.#last = nowMs - timestampUs / 1000;
    this.#fastest = Math.min(this.#fastest, this.#last);
    this.#slowest = Math.max(this.#slowest, this.#last);
    this.changed.fire();
    return true;
  }

  finish() {
    this.ended = true;
    this.changed.fire();
  }

  cancel() {
    this.cancelled = true;
    this.changed.fire();
  }

  async receipt() {
    const delay = (ms) => (this.frames ? Math.round(1000 * (ms - this.#fastest)) / 1000 : 0);
    return {
      type: "receipt",
      speech: this.number,
      frames: this.frames,
      ms: this.durationUs / 1000,
      digest: await digestOf(this.#payloads),
      added_delay_ms: delay(this.#last),
      complete: this.ended && !this.missing.length && !this.isShort,
      worst_delay_ms: delay(this.#slowest),
      resumptions: this.resumptions,
      ...(this.missing.length ? { missing: this.missing } : {}),
    };
  }

  /** Packets from the first on, as they arrive; ends early when it is taken back. */
  async *[Symbol.asyncIterator]() {
    for (let at = 0; ; ) {
      while (at < this.packets.length && !this.cancelled) yield this.packets[at++];
      if (this.over) return;
      await this.changed.wait();
    }
  }
}
