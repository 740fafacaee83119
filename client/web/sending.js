/**
 * The sending halves of QMux streams, as WritableStreams: what waits, and what the peer allows.
 */

import { LocalError } from "./errors.js";
import { isOurs, kindOf } from "./qmux.js";
import { resolvers, streamError, unattended } from "./streams.js";
import { concat } from "./varint.js";

/** Our own streams that may wait for the peer's permission. */
const MAX_BLOCKED_STREAMS = 1_024;

/** One sending half, until its end is on its way. */
class SendHalf {
  sent = 0;
  chunks = [];
  fin = null;
  over = false;

  constructor(stream, order, limit) {
    Object.assign(this, { stream, order, limit });
  }

  get isReady() {
    if (this.over) return false;
    if (!this.chunks.length) return Boolean(this.fin);
    return this.limit > this.sent;
  }
}

/** All sending halves. `touch()` is called when there is something to send. */
export class Sending {
  /** Frames that go before any stream's bytes. */
  control = [];
  #halves = new Map();
  #opened = { bidi: 0, uni: 0 };
  #allowed = { bidi: 0, uni: 0 };
  #blocked = { bidi: [], uni: [] };
  #limit = 0;
  #sent = 0;
  #peer = null;
  #touch;
  #over;

  /** `over(stream)` is told when a half has ended. */
  constructor(touch, over) {
    this.#touch = touch;
    this.#over = over;
  }

  /** Take the peer's first limits; until then they are all 0. */
  begin(parameters) {
    this.#peer = parameters;
    this.allowData(parameters.maxData);
    this.allowStreams("bidi", parameters.maxStreamsBidi);
    this.allowStreams("uni", parameters.maxStreamsUni);
  }

  /** The id of a new stream of ours, once the peer allows it. */
  async open(kind) {
    if (this.#opened[kind] >= this.#allowed[kind]) {
      if (this.#blocked[kind].length >= MAX_BLOCKED_STREAMS) {
        throw new LocalError(`${MAX_BLOCKED_STREAMS} streams wait for the peer's permission`);
      }
      const turn = resolvers();
      this.#blocked[kind].push(turn);
      await turn.promise;
    }
    return 4 * this.#opened[kind]++ + (kind === "uni" ? 2 : 0);
  }

  /** Whether a stream of ours was ever opened. */
  hasOpened(stream) {
    return Math.floor(stream / 4) < this.#opened[kindOf(stream)];
  }

  /** Our half of a stream, ours or the peer's. */
  writable(stream, order = 0) {
    const { maxStreamDataUni, maxStreamDataBidiLocal, maxStreamDataBidiRemote } = this.#peer;
    const bidi = isOurs(stream) ? maxStreamDataBidiRemote : maxStreamDataBidiLocal;
    const half = new SendHalf(stream, order, kindOf(stream) === "uni" ? maxStreamDataUni : bidi);
    this.#halves.set(stream, half);
    const failed = resolvers();
    unattended(failed.promise);
    return new WritableStream({
      start: (controller) => {
        half.fail = (error) => {
          failed.reject(error);
          controller.error(error);
        };
        // `abort` itself would wait for a write that waits for credit.
        controller.signal.addEventListener("abort", () => {
          const { reason } = controller.signal;
          failed.reject(reason);
          this.#reset(half, reason?.streamErrorCode ?? 0);
        });
      },
      write: (bytes) => {
        if (!bytes.length) return undefined;
        const done = resolvers();
        half.chunks.push({ bytes, done });
        this.#touch();
        return Promise.race([done.promise, failed.promise]);
      },
      close: () => {
        half.fin = resolvers();
        this.#touch();
        return Promise.race([half.fin.promise, failed.promise]);
      },
    });
  }

  allowData(limitBytes) {
    this.#limit = Math.max(this.#limit, limitBytes);
    this.#touch();
  }

  allowStreamData(stream, limitBytes) {
    const half = this.#halves.get(stream);
    if (half) half.limit = Math.max(half.limit, limitBytes);
    this.#touch();
  }

  allowStreams(kind, count) {
    this.#allowed[kind] = Math.max(this.#allowed[kind], count);
    const free = this.#allowed[kind] - this.#opened[kind];
    for (const turn of this.#blocked[kind].splice(0, free)) turn.resolve();
  }

  /** Take the peer's wish to hear no more. */
  stop(stream, code) {
    const half = this.#halves.get(stream);
    if (!half) return;
    this.#reset(half, code);
    half.fail(streamError(Number(code)));
  }

  /** The next STREAM frames, the most urgent first, of at most `budget` bytes in all. */
  take(budget, segmentBytes) {
    const frames = [];
    let left = budget;
    const ready = [...this.#halves.values()].filter((half) => half.isReady)
      .sort((one, other) => other.order - one.order || one.stream - other.stream);
    for (const half of ready) {
      while (half.isReady && left > 0) {
        const room = Math.min(left, segmentBytes, half.limit - half.sent, this.#limit - this.#sent);
        if (half.chunks.length && room <= 0) break;
        const frame = this.#cut(half, room);
        left -= frame.data.length;
        frames.push(frame);
        if (frame.fin) this.#end(half);
      }
    }
    return frames;
  }

  /** Nothing will be sent any more. */
  close(error) {
    for (const half of this.#halves.values()) half.fail(error);
    this.#halves.clear();
    for (const turn of [...this.#blocked.bidi, ...this.#blocked.uni]) turn.reject(error);
  }

  #cut(half, room) {
    const parts = [];
    const offset = half.sent;
    let size = 0;
    while (half.chunks.length && size < room) {
      const [chunk] = half.chunks;
      const part = chunk.bytes.subarray(0, room - size);
      parts.push(part);
      size += part.length;
      if (part.length === chunk.bytes.length) half.chunks.shift().done.resolve();
      else chunk.bytes = chunk.bytes.subarray(part.length);
    }
    const data = parts.length === 1 ? parts[0] : concat(parts);
    half.sent += size;
    this.#sent += size;
    const fin = Boolean(half.fin) && !half.chunks.length;
    return { type: "Segment", stream: half.stream, offset, data, fin };
  }

  #end(half) {
    half.over = true;
    this.#halves.delete(half.stream);
    half.fin?.resolve();
    this.#over(half.stream);
  }

  #reset(half, code) {
    if (half.over) return;
    this.control.push({ type: "ResetStream", stream: half.stream, code, finalBytes: half.sent });
    this.#end(half);
    this.#touch();
  }
}
