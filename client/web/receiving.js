/**
 * The receiving halves of QMux streams, as ReadableStreams: what the peer may send, and credit
 * for what was read. Every number of the peer's is checked before it counts for anything.
 */

import { TransportCode, Violation, isOurs, kindOf } from "./qmux.js";
import { resolvers, streamError } from "./streams.js";

/** Bytes that the peer may send ahead of what is read, on one stream. */
export const STREAM_WINDOW = 256 * 1024;

/** The same, on all streams together. */
export const CONNECTION_WINDOW = 1024 * 1024;

/** Streams of each kind that the peer may have open at once. */
export const MAX_STREAMS = Object.freeze({ bidi: 128, uni: 1024 });

/** Credit goes out once a quarter of a window was read: one frame for many reads. */
const CREDIT_STEPS = 4;

/** One receiving half, until its end was read. */
class ReceiveHalf {
  received = 0;
  handed = 0;
  limit = STREAM_WINDOW;
  chunks = [];
  /** The peer has ended or reset it. */
  isOver = false;
  /** We want no more of it. */
  isStopped = false;
  wanted = null;

  constructor(stream) {
    this.stream = stream;
  }
}

/** All receiving halves. */
export class Receiving {
  #halves = new Map();
  #arrivals = {
    bidi: { next: 0, skipped: new Set(), allowed: MAX_STREAMS.bidi, ended: 0 },
    uni: { next: 0, skipped: new Set(), allowed: MAX_STREAMS.uni, ended: 0 },
  };
  #halfOpen = new Map();
  #received = 0;
  #handed = 0;
  #limit = CONNECTION_WINDOW;
  #credit = new Map();
  #touch;
  #say;
  #opened;

  /** `opened(stream, readable)` is told of the peer's streams; `say(frame)` sends one. */
  constructor(touch, say, opened) {
    this.#touch = touch;
    this.#say = say;
    this.#opened = opened;
  }

  /** The peer's half of a stream. */
  readable(stream) {
    const half = new ReceiveHalf(stream);
    this.#halves.set(stream, half);
    return new ReadableStream({
      start: (controller) => void (half.controller = controller),
      pull: () => this.#pull(half),
      cancel: (reason) => this.#stop(half, reason?.streamErrorCode ?? 0),
    }, { highWaterMark: 0 });
  }

  /** Take the next bytes of a stream; throws a Violation when they are beyond a limit. */
  receive({ stream, offset, data, fin }) {
    const half = this.#meet(stream);
    if (!half || half.isOver) {
      this.#count(data.length);
      this.#handOver(data.length);
      return;
    }
    if (offset !== null && offset !== half.received) {
      const reason = `bytes at ${offset} of stream ${stream}, ${half.received} is next`;
      throw new Violation(TransportCode.PROTOCOL_VIOLATION, reason);
    }
    this.#grow(half, half.received + data.length);
    half.isOver = fin;
    if (half.isStopped) {
      this.#read(half, data.length);
      return;
    }
    if (data.length) half.chunks.push(data);
    half.wanted?.resolve();
  }

  /** Take the peer's reset: what was not read is dropped. */
  reset({ stream, code, finalBytes }) {
    const half = this.#meet(stream);
    if (!half || half.isOver) return;
    this.#grow(half, Math.max(half.received, finalBytes));
    half.isOver = true;
    half.chunks = [];
    if (!half.isStopped) half.controller.error(streamError(Number(code)));
    half.wanted?.resolve();
    this.#read(half, half.received - half.handed);
  }

  /** Limits to tell the peer, the newest of each kind. */
  takeCredit() {
    const frames = [...this.#credit.values()];
    this.#credit.clear();
    return frames;
  }

  /** One half of a stream is over; both: the peer may open another one. */
  halfOver(stream) {
    const left = this.#halfOpen.get(stream);
    if (left === undefined) return;
    if (left > 1) {
      this.#halfOpen.set(stream, left - 1);
      return;
    }
    this.#halfOpen.delete(stream);
    const kind = kindOf(stream);
    const arrivals = this.#arrivals[kind];
    const count = MAX_STREAMS[kind] + ++arrivals.ended;
    if ((count - arrivals.allowed) * CREDIT_STEPS < MAX_STREAMS[kind]) return;
    arrivals.allowed = count;
    this.#owe(kind, { type: "MaxStreams", bidirectional: kind === "bidi", count });
  }

  close(error) {
    for (const half of this.#halves.values()) {
      if (!half.isStopped) half.controller.error(error);
      half.wanted?.resolve();
    }
    this.#halves.clear();
  }

  /** Find a stream, opening one of the peer's on first sight; null: it is over. */
  #meet(stream) {
    const half = this.#halves.get(stream);
    if (half || isOurs(stream)) return half ?? null;
    const kind = kindOf(stream);
    const arrivals = this.#arrivals[kind];
    const index = Math.floor(stream / 4);
    if (index >= arrivals.allowed) {
      const reason = `stream number ${index} of its kind, ${arrivals.allowed} are allowed`;
      throw new Violation(TransportCode.STREAM_LIMIT_ERROR, reason);
    }
    // Opening a stream opens all before it (RFC 9000, section 3.2).
    if (index < arrivals.next && !arrivals.skipped.delete(index)) return null;
    for (; arrivals.next < index; arrivals.next++) arrivals.skipped.add(arrivals.next);
    arrivals.next = Math.max(arrivals.next, index + 1);
    this.#halfOpen.set(stream, kind === "bidi" ? 2 : 1);
    this.#opened(stream, this.readable(stream));
    return this.#halves.get(stream);
  }

  async #pull(half) {
    if (!half.chunks.length && !half.isOver) {
      half.wanted = resolvers();
      await half.wanted.promise;
      half.wanted = null;
    }
    if (half.isStopped || !this.#halves.has(half.stream)) return;
    if (half.chunks.length) {
      const data = half.chunks.shift();
      half.controller.enqueue(data);
      this.#read(half, data.length);
    }
    if (half.isOver && !half.chunks.length) {
      half.controller.close();
      this.#read(half, 0);
    }
  }

  #stop(half, code) {
    if (half.isStopped || !this.#halves.has(half.stream)) return;
    half.isStopped = true;
    half.chunks = [];
    half.wanted?.resolve();
    if (!half.isOver) this.#say({ type: "StopSending", stream: half.stream, code });
    this.#read(half, half.received - half.handed);
  }

  #grow(half, received) {
    if (received > half.limit) {
      const reason = `${received} bytes on stream ${half.stream}, ${half.limit} are allowed`;
      throw new Violation(TransportCode.FLOW_CONTROL_ERROR, reason);
    }
    this.#count(received - half.received);
    half.received = received;
  }

  #count(size) {
    this.#received += size;
    if (this.#received > this.#limit) {
      const reason = `${this.#received} bytes on all streams, ${this.#limit} are allowed`;
      throw new Violation(TransportCode.FLOW_CONTROL_ERROR, reason);
    }
  }

  /** `size` bytes were read, or are of no interest. */
  #read(half, size) {
    this.#handOver(size);
    half.handed += size;
    if (half.isOver && half.handed === half.received) {
      if (this.#halves.delete(half.stream)) this.halfOver(half.stream);
      this.#credit.delete(half.stream);
      return;
    }
    const limitBytes = half.handed + STREAM_WINDOW;
    if ((limitBytes - half.limit) * CREDIT_STEPS < STREAM_WINDOW || half.isOver) return;
    half.limit = limitBytes;
    this.#owe(half.stream, { type: "MaxStreamData", stream: half.stream, limitBytes });
  }

  #handOver(size) {
    this.#handed += size;
    const limitBytes = this.#handed + CONNECTION_WINDOW;
    if ((limitBytes - this.#limit) * CREDIT_STEPS < CONNECTION_WINDOW) return;
    this.#limit = limitBytes;
    this.#owe("data", { type: "MaxData", limitBytes });
  }

  #owe(key, frame) {
    this.#credit.set(key, frame);
    this.#touch();
  }
}
