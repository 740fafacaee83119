/**
 * WebTransport's streams in the form the session reads and writes them: whole messages in,
 * codes on resets, and waits that end.
 */

import { LocalError, StreamCode, StreamEnded } from "./errors.js";
import { Framer } from "./varint.js";

/** Longest control message taken. */
export const MAX_MESSAGE_BYTES = 16 * 1024;

/** Longest frame taken. */
export const MAX_FRAME_BYTES = 1024 * 1024;

/** Something that changes: `wait()` resolves at the next `fire()`. */
export class Signal {
  #waiting = resolvers();

  wait() {
    return this.#waiting.promise;
  }

  fire() {
    const { resolve } = this.#waiting;
    this.#waiting = resolvers();
    resolve();
  }
}

/** `Promise.withResolvers`, which older browsers lack. */
export function resolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

/** Items from one side to an async iteration on the other; bounded, then refuses. */
export class Queue {
  #items = [];
  #limit;
  #changed = new Signal();
  #closed = false;
  #error = null;

  constructor(limit) {
    this.#limit = limit;
  }

  get size() {
    return this.#items.length;
  }

  /** Whether the item was taken: false when full or closed. */
  push(item) {
    if (this.#closed || this.#items.length >= this.#limit) return false;
    this.#items.push(item);
    this.#changed.fire();
    return true;
  }

  /** End the iteration, after what was pushed; with an error it throws that. */
  close(error = null) {
    if (this.#closed) return;
    this.#closed = true;
    this.#error = error;
    this.#changed.fire();
  }

  /** Drop everything that waits. */
  clear() {
    return this.#items.splice(0);
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#items.length) yield this.#items.shift();
      if (this.#closed) {
        if (this.#error) throw this.#error;
        return;
      }
      await this.#changed.wait();
    }
  }
}

/** The stream code in what a stream threw; without one the session itself ended. */
export function codeOf(error) {
  if (error instanceof StreamEnded || error?.code in STREAM_CODES) return error.code;
  return error?.streamErrorCode ?? StreamCode.SESSION_CLOSED;
}

const STREAM_CODES = Object.fromEntries(Object.values(StreamCode).map((code) => [code, true]));

/** The reason to abort or cancel a stream with, carrying `code`. */
export function streamError(code, message = "") {
  const Kind = globalThis.WebTransportError;
  if (Kind) {
    for (const make of [
      () => new Kind(message, { source: "stream", streamErrorCode: code }),
      () => new Kind({ message, streamErrorCode: code }),
    ]) {
      try {
        const made = make();
        if (made.streamErrorCode === code) return made;
      } catch {
        // An older or newer form of the constructor; the other one fits.
      }
    }
  }
  return Object.assign(new StreamEnded(code, message), { streamErrorCode: code });
}

/** Ignore how something ends that nobody waits for. */
export const unattended = (promise) => promise?.catch(() => {});

/** Reads one stream: whole messages, or what comes. Null means the stream ended. */
export class Incoming {
  #reader;
  #framer;
  #heard;

  /** `heard` is called whenever bytes came. */
  constructor(readable, heard = () => {}, limit = MAX_MESSAGE_BYTES) {
    this.#reader = readable.getReader();
    this.#framer = new Framer(limit);
    this.#heard = heard;
  }

  /** A varint, such as the stream's type. */
  varint() {
    return this.#unit(() => this.#framer.varint());
  }

  /** A size-prefixed message's body. */
  message() {
    return this.#unit(() => this.#framer.message());
  }

  /** `[type, body]`. */
  typed() {
    return this.#unit(() => this.#framer.typed());
  }

  /** The next bytes, as they come. */
  async chunk() {
    if (this.#framer.buffered) return this.#framer.rest();
    return this.#read();
  }

  /** Want no more of it. */
  cancel(code) {
    unattended(this.#reader.cancel(streamError(code)));
  }

  async #unit(take) {
    for (;;) {
      const unit = take();
      if (unit !== null) return unit;
      const bytes = await this.#read();
      if (bytes === null) {
        if (this.#framer.buffered) throw new StreamEnded(StreamCode.CANCELLED, "half a message");
        return null;
      }
      this.#framer.feed(bytes);
    }
  }

  async #read() {
    for (;;) {
      const { value, done } = await this.#reader.read();
      if (done) return null;
      this.#heard();
      if (value.length) return value;
    }
  }
}

/** Writes one stream, waiting for room in it. */
export class Outgoing {
  #writer;
  #over = false;
  /** Rejects when the peer wants no more or the session ended; stays pending otherwise. */
  lost;

  constructor(writable) {
    this.#writer = writable.getWriter();
    this.lost = this.#writer.closed.then(() => new Promise(() => {}));
    // A write that waits tells of it as well; often nobody waits for `lost`.
    unattended(this.lost);
  }

  /** Resolves when the stream has room again; throws what ended it. */
  async write(bytes) {
    if (this.#over) throw new LocalError("a stream that was ended takes no more");
    await this.#writer.ready;
    await this.#writer.write(bytes);
  }

  /** End it: all is said. */
  async close() {
    if (this.#over) return;
    this.#over = true;
    await this.#writer.close();
  }

  /** Give it up. */
  abort(code) {
    if (this.#over) return;
    this.#over = true;
    unattended(this.#writer.abort(streamError(code)));
  }
}
