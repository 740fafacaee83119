/**
 * WebTransport's interface between two ends in one process: what the session needs of it, with
 * resets, back-pressure and chunks of any size. Not a network; real ones are in tests/browser.
 */

import { resolvers } from "../../client/web/streams.js";

class StreamFailure extends Error {
  constructor(code) {
    super(`stream ended with code ${code}`);
    this.streamErrorCode = code;
  }
}

const failureOf = (reason) => new StreamFailure(reason?.streamErrorCode ?? 0);

/** One direction of a stream: `[writable, readable]`. */
function pipe(chunkBytes, links) {
  let [source, sink] = [null, null];
  const readable = new ReadableStream(
    {
      start: (controller) => void (source = controller),
      cancel: (reason) => sink.error(failureOf(reason)),
    },
    { highWaterMark: 1 << 16, size: (chunk) => chunk.length },
  );
  const writable = new WritableStream({
    start: (controller) => void (sink = controller),
    write(bytes) {
      const copy = Uint8Array.from(bytes);
      for (let at = 0; at < copy.length; at += chunkBytes) {
        source.enqueue(copy.subarray(at, at + chunkBytes));
      }
    },
    close: () => source.close(),
    abort: (reason) => source.error(failureOf(reason)),
  });
  links.add((error) => {
    for (const end of [source, sink]) {
      try {
        end.error(error);
      } catch {
        // It had ended already.
      }
    }
  });
  return [writable, readable];
}

class End {
  #closed = resolvers();

  constructor(chunkBytes, links) {
    this.chunkBytes = chunkBytes;
    this.links = links;
    this.ready = Promise.resolve();
    this.incomingBidirectionalStreams = new ReadableStream({
      start: (controller) => void (this.bidi = controller),
    });
    this.incomingUnidirectionalStreams = new ReadableStream({
      start: (controller) => void (this.uni = controller),
    });
  }

  get closed() {
    return this.#closed.promise;
  }

  async createBidirectionalStream() {
    const [writable, theirReadable] = pipe(this.chunkBytes, this.links);
    const [theirWritable, readable] = pipe(this.chunkBytes, this.links);
    this.peer.bidi.enqueue({ readable: theirReadable, writable: theirWritable });
    return { readable, writable };
  }

  async createUnidirectionalStream() {
    const [writable, theirReadable] = pipe(this.chunkBytes, this.links);
    this.peer.uni.enqueue(theirReadable);
    return writable;
  }

  close(info = {}) {
    for (const end of [this, this.peer]) end.finish(info);
    for (const cut of this.links) cut(new Error("the session was closed"));
  }

  finish(info) {
    this.#closed.resolve(info);
    for (const controller of [this.bidi, this.uni]) {
      try {
        controller.close();
      } catch {
        // It had ended already.
      }
    }
  }
}

/** Two connected ends. */
export function pair({ chunkBytes = 1 << 16 } = {}) {
  const links = new Set();
  const [one, other] = [new End(chunkBytes, links), new End(chunkBytes, links)];
  [one.peer, other.peer] = [other, one];
  return [one, other];
}
