/**
 * QUIC variable-length integers (RFC 9000, section 16), and fields made of them.
 *
 * A number is a Number up to 2**53 - 1 and a BigInt above, which only origin ids reach.
 */

import { LocalError, RemoteError, SessionCode, violation } from "./errors.js";

/** The largest number that a varint holds. */
export const MAX_VARINT = (1n << 62n) - 1n;

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** How many bytes a value takes, from its first byte. */
const sizeOf = (first) => 1 << (first >> 6);

/** How many bytes a value needs. */
export function varintSize(value) {
  if (value < 1 << 6) return 1;
  if (value < 1 << 14) return 2;
  return value < 2 ** 30 ? 4 : 8;
}

/** Encode in the fewest bytes; throws LocalError outside 0 to 2**62 - 1. */
export function encodeVarint(value) {
  const whole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!whole || value < 0 || BigInt(value) > MAX_VARINT) {
    throw new LocalError(`a varint holds 0 to 2**62 - 1, not ${value}`);
  }
  const size = varintSize(value);
  const bytes = new Uint8Array(size);
  if (size < 8) {
    let rest = Number(value);
    for (let at = size - 1; at >= 0; at--) {
      bytes[at] = rest & 0xff;
      rest = Math.floor(rest / 256);
    }
  } else {
    new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  }
  bytes[0] |= Math.log2(size) << 6;
  return bytes;
}

/** Decode at `offset`: `[value, offset behind it]`, or null while the bytes end too early. */
export function decodeVarint(bytes, offset = 0) {
  if (offset >= bytes.length) return null;
  const first = bytes[offset];
  const end = offset + sizeOf(first);
  if (end > bytes.length) return null;
  if (end - offset < 8) {
    let value = first & 0x3f;
    for (let at = offset + 1; at < end; at++) value = value * 256 + bytes[at];
    return [value, end];
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 8);
  const value = view.getBigUint64(0) & MAX_VARINT;
  return [value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value, end];
}

/** Join byte arrays. */
export function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Takes fields off a whole message, front to back; throws a violation when it is too short. */
export class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  get remaining() {
    return this.#bytes.length - this.#at;
  }

  varint() {
    const decoded = decodeVarint(this.#bytes, this.#at);
    if (decoded === null) throw violation("message too short: a varint is cut off");
    this.#at = decoded[1];
    return decoded[0];
  }

  /** A varint that counts or measures, which must be a Number. */
  count() {
    const value = this.varint();
    if (typeof value === "bigint") throw violation(`a count of ${value}`);
    return value;
  }

  u8() {
    return this.take(1)[0];
  }

  flag() {
    const value = this.u8();
    if (value > 1) throw violation(`a flag of ${value}, not 0 or 1`);
    return value === 1;
  }

  /** A varint moved up by one, 0 standing for null. */
  optional() {
    const value = this.varint();
    if (typeof value === "bigint") return value - 1n;
    return value ? value - 1 : null;
  }

  take(size) {
    if (size > this.remaining) {
      throw violation(`message too short: a field of ${size} bytes, ${this.remaining} left`);
    }
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  rest() {
    return this.take(this.remaining);
  }

  blob() {
    return this.take(this.count());
  }

  text() {
    const bytes = this.blob();
    try {
      return strictUtf8.decode(bytes);
    } catch (error) {
      throw violation("a text that is not UTF-8");
    }
  }

  varints() {
    const count = this.count();
    if (count > this.remaining) throw violation(`a list of ${count} in ${this.remaining} bytes`);
    return Array.from({ length: count }, () => this.varint());
  }

  finish() {
    if (this.remaining) {
      throw violation(`${this.remaining} bytes behind the message's last field`);
    }
  }
}

/** Gathers fields; throws LocalError for a value outside its format. */
export class Writer {
  #parts = [];

  varint(value) {
    this.#parts.push(encodeVarint(value));
  }

  u8(value) {
    if (!Number.isInteger(value) || value < 0 || value > 0xff) {
      throw new LocalError(`a byte holds 0 to 255, not ${value}`);
    }
    this.#parts.push(Uint8Array.of(value));
  }

  flag(value) {
    this.u8(value ? 1 : 0);
  }

  optional(value) {
    this.varint(value === null || value === undefined ? 0 : value + 1);
  }

  raw(bytes) {
    this.#parts.push(bytes);
  }

  blob(bytes) {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  text(value) {
    this.blob(utf8.encode(value));
  }

  varints(values) {
    this.varint(values.length);
    for (const value of values) this.varint(value);
  }

  bytes() {
    return concat(this.#parts);
  }
}

/**
 * Collects one stream's bytes and hands out whole units; each method returns null while the
 * unit is not whole. Holds at most one unfinished message of `limit` bytes beyond a chunk.
 */
export class Framer {
  #bytes = new Uint8Array(0);
  #limit;

  constructor(limit) {
    this.#limit = limit;
  }

  get buffered() {
    return this.#bytes.length;
  }

  feed(bytes) {
    this.#bytes = this.#bytes.length ? concat([this.#bytes, bytes]) : bytes;
  }

  varint() {
    const decoded = decodeVarint(this.#bytes);
    if (decoded === null) return null;
    this.#bytes = this.#bytes.subarray(decoded[1]);
    return decoded[0];
  }

  /** The body of a size-prefixed message. */
  message() {
    return this.#body(0);
  }

  /** `[type, body]` of a size-prefixed message with its type in front. */
  typed() {
    const decoded = decodeVarint(this.#bytes);
    if (decoded === null) return null;
    const body = this.#body(decoded[1]);
    return body === null ? null : [decoded[0], body];
  }

  rest() {
    const rest = this.#bytes;
    this.#bytes = new Uint8Array(0);
    return rest;
  }

  #body(at) {
    const decoded = decodeVarint(this.#bytes, at);
    if (decoded === null) return null;
    const [size, start] = decoded;
    if (size > this.#limit) {
      const reason = `a message of ${size} bytes, ${this.#limit} are allowed`;
      throw new RemoteError(SessionCode.EXCESSIVE_LOAD, reason);
    }
    if (start + size > this.#bytes.length) return null;
    const body = this.#bytes.subarray(start, start + size);
    this.#bytes = this.#bytes.subarray(start + size);
    return body;
  }
}
