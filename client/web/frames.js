/**
 * Frames of a group on their stream (draft-lcurley-moq-lite, section FRAME), and hang's
 * `legacy` container around an Opus packet.
 */

import { LocalError, MediaError, StreamCode } from "./errors.js";
import { concat, decodeVarint, encodeVarint } from "./varint.js";

const MAX_TIMESTAMP = Number.MAX_SAFE_INTEGER;

/** Fold a signed number into an unsigned one: 0, -1, 1, -2 become 0, 1, 2, 3. */
const zigzag = (value) => (value >= 0 ? value * 2 : -value * 2 - 1);

/** Undo `zigzag`. */
const unzigzag = (value) => (value % 2 ? -(value + 1) / 2 : value / 2);

/**
 * What stands before a frame's payload. `previous` is the former frame's timestamp, 0 for a
 * group's first, null where the version carries none.
 */
export function encodeFrameHeader(size, timestamp, previous) {
  if (previous === null) return encodeVarint(size);
  if (!Number.isSafeInteger(timestamp) || timestamp < 0) {
    throw new LocalError(`a frame with timestamp ${timestamp}`);
  }
  return concat([encodeVarint(zigzag(timestamp - previous)), encodeVarint(size)]);
}

/**
 * Bytes of one group, in any chunking, to `{ payload, timestamp }`. `failed` is the code for
 * which the stream is of no more use; frames before the broken one are handed out.
 */
export class FrameParser {
  failed = null;
  #limit;
  #previous;
  #bytes = new Uint8Array(0);
  #chunks = [];
  #waiting = 0;
  #need = 1;

  constructor(version, maxFrameBytes) {
    this.#limit = maxFrameBytes;
    this.#previous = version.timestamps ? 0 : null;
  }

  get buffered() {
    return this.#waiting;
  }

  feed(bytes) {
    this.#chunks.push(bytes);
    this.#waiting += bytes.length;
    if (this.#waiting < this.#need) return [];
    this.#bytes = concat(this.#chunks);
    const frames = this.#parse();
    this.#chunks = this.#bytes.length ? [this.#bytes] : [];
    this.#waiting = this.#bytes.length;
    return frames;
  }

  #parse() {
    const frames = [];
    let start = 0;
    while (start < this.#bytes.length) {
      const header = this.#header(start);
      if (header === null) {
        this.#need = this.#bytes.length - start + 1;
        break;
      }
      if (this.failed !== null) break;
      const [timestamp, size, at] = header;
      if (at + size > this.#bytes.length) {
        this.#need = at + size - start;
        break;
      }
      frames.push({ payload: this.#bytes.slice(at, at + size), timestamp });
      this.#previous = timestamp;
      start = at + size;
      this.#need = 1;
    }
    this.#bytes = this.#bytes.subarray(start);
    return frames;
  }

  #header(start) {
    let [timestamp, at] = [null, start];
    if (this.#previous !== null) {
      const folded = decodeVarint(this.#bytes, at);
      if (folded === null) return null;
      at = folded[1];
      timestamp = this.#previous + Number(unzigzag(Number(folded[0])));
      if (timestamp < 0 || timestamp > MAX_TIMESTAMP) this.failed = StreamCode.MALFORMED_TRACK;
    }
    const size = decodeVarint(this.#bytes, at);
    if (size === null) return null;
    if (size[0] > this.#limit) this.failed ??= StreamCode.EXCESSIVE_LOAD;
    return [timestamp, size[0], size[1]];
  }
}

/** hang's `legacy` container: a varint of microseconds, then the packet. */
export function encodeLegacy(timestampUs, packet) {
  return concat([encodeVarint(timestampUs), packet]);
}

/** `{ timestampUs, packet }`; an empty packet is an end marker. */
export function decodeLegacy(payload) {
  const decoded = decodeVarint(payload);
  if (decoded === null) throw new MediaError("a frame without a whole timestamp");
  return { timestampUs: decoded[0], packet: payload.subarray(decoded[1]) };
}
