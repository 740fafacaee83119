// What a WebTransport server owes a browser, in the shape of the web platform's own tests.

const CODES = [0, 1, 28, 29, 30, 31, 254, 255]; // around the gaps in how codes are mapped
const PATIENCE_MS = 10_000;
let where;

/** Open a session at a path of the server. */
async function session(path, options = {}) {
  const { url, hash, protocols = ["echo-1"] } = { ...where, ...options };
  const value = Uint8Array.from(hash.match(/../g), (pair) => Number.parseInt(pair, 16));
  const made = new WebTransport(new URL(path, url), {
    serverCertificateHashes: [{ algorithm: "sha-256", value }],
    protocols,
  });
  made.closed.catch(() => {});
  await made.ready;
  return made;
}

async function all(readable) {
  const parts = [];
  for await (const part of readable) parts.push(part);
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function send(writable, bytes) {
  const writer = writable.getWriter();
  await writer.write(bytes);
  await writer.close();
}

/** What a promise rejects with. */
async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

function same(found, wanted, what = "") {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what} is ${a}, not ${b}`);
}

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (said) => new TextEncoder().encode(said);
const next = async (reader) => (await reader.read()).value;
const first = (stream) => next(stream.getReader());
const noise = (size) => {
  const made = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(made.subarray(at, at + 65_536));
  return made;
};
const sum = async (data) =>
  Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", data))).join();

const checks = {
  async "connect: the server's favourite of the protocols offered"() {
    const made = await session("/echo/protocol", { protocols: ["echo-1", "echo-2"] });
    same(made.protocol, "echo-2", "the protocol");
    made.close();
  },
  async "connect: no common protocol is refused"() {
    await refusal(session("/echo/none", { protocols: ["other"] }));
  },
  async "close: the server hears code and reason"() {
    const made = await session("/echo/close");
    made.close({ closeCode: 4242, reason: "schönen Tag" });
    const closed = await made.closed;
    same([closed.closeCode, closed.reason], [4242, "schönen Tag"], "our own close");
  },
  async "close: without words"() {
    const made = await session("/echo/silent");
    made.close();
    await made.closed;
  },
  async "close: the client hears code and reason"() {
    const made = await session("/close/now?code=7&reason=enough%20f%C3%BCr%20heute");
    const closed = await made.closed;
    same([closed.closeCode, closed.reason], [7, "enough für heute"], "the server's close");
  },
  async "close: streams end with the session"() {
    const made = await session("/echo/ends");
    const { readable, writable } = await made.createBidirectionalStream();
    const writer = writable.getWriter();
    await writer.write(bytes("x"));
    const reader = readable.getReader();
    await reader.read();
    made.close();
    same((await refusal(reader.read())).source, "session", "the error's source");
  },
  async "streams: 300 kB there and back, both ways"() {
    const made = await session("/echo/bidi");
    const sent = noise(300_000);
    const { readable, writable } = await made.createBidirectionalStream();
    const [, got] = await Promise.all([send(writable, sent), all(readable)]);
    same(await sum(got), await sum(sent), "the digest");
    made.close();
  },
  async "streams: 300 kB there, and back on another, one way"() {
    const made = await session("/echo/uni");
    const sent = noise(300_000);
    const incoming = made.incomingUnidirectionalStreams.getReader();
    await send(await made.createUnidirectionalStream(), sent);
    const { value } = await incoming.read();
    same(await sum(await all(value)), await sum(sent), "the digest");
    made.close();
  },
  async "streams: empty ones have an end"() {
    const made = await session("/echo/empty");
    const { readable, writable } = await made.createBidirectionalStream();
    await writable.getWriter().close();
    same((await all(readable)).length, 0, "the length");
    made.close();
  },
  async "streams: 300, more than are allowed at once, 50 at a time"() {
    const made = await session("/echo/many");
    const echo = async (number) => {
      const { readable, writable } = await made.createBidirectionalStream();
      await send(writable, bytes(String(number)));
      return text(await all(readable));
    };
    for (let begin = 0; begin < 300; begin += 50) {
      const numbers = Array.from({ length: 50 }, (_, at) => begin + at);
      same(await Promise.all(numbers.map(echo)), numbers.map(String), "what came back");
    }
    made.close();
  },
  async "streams: the server opens them too"() {
    const made = await session("/push/both");
    const incoming = made.incomingUnidirectionalStreams.getReader();
    same(text(await all(await next(incoming))), "one way", "the one-way stream");
    const both = await first(made.incomingBidirectionalStreams);
    same(text(await all(both.readable)), "both ways", "the other");
    await send(both.writable, bytes("thanks"));
    same(text(await all(await next(incoming))), "heard", "what comes when that has arrived");
    made.close();
    await made.closed;
  },
  async "datagrams: there and back"() {
    const made = await session("/echo/datagrams");
    if (made.datagrams.maxDatagramSize < 1000) throw new Error("datagrams are too small");
    const writable = made.datagrams.createWritable?.() ?? made.datagrams.writable;
    const writer = writable.getWriter();
    const reader = made.datagrams.readable.getReader();
    const sent = Array.from({ length: 20 }, (_, number) => `datagram ${number}`);
    const got = new Set();
    for (const one of sent) {
      await writer.write(bytes(one));
      got.add(text((await reader.read()).value));
    }
    same([...got], sent, "what came back");
    made.close();
  },
  async "abort: the server hears the code of a reset"() {
    for (const code of CODES) {
      const made = await session(`/echo/abort/${code}`);
      const writer = (await made.createUnidirectionalStream()).getWriter();
      await writer.write(bytes("so far"));
      await writer.abort(new WebTransportError({ message: "", streamErrorCode: code }));
      await first(made.incomingUnidirectionalStreams);
      made.close();
    }
  },
  async "cancel: the server hears the code of STOP_SENDING"() {
    for (const code of CODES) {
      const made = await session(`/reset/cancel/${code}`); // whose streams have no end yet
      const incoming = made.incomingUnidirectionalStreams.getReader();
      const stream = await next(incoming);
      await stream.cancel(new WebTransportError({ message: "", streamErrorCode: code }));
      same(text(await all(await next(incoming))), "heard", "what comes when that has arrived");
      made.close();
    }
  },
  async "reset: the client hears the server's code"() {
    for (const code of CODES) {
      const made = await session(`/reset/${code}?code=${code}`);
      const one = (await first(made.incomingUnidirectionalStreams)).getReader();
      const both = (await first(made.incomingBidirectionalStreams)).readable.getReader();
      same([text((await one.read()).value), text((await both.read()).value)],
        ["and then", "and then"], "the beginning");
      await send(await made.createUnidirectionalStream(), bytes("reset them"));
      for (const reader of [one, both]) {
        const error = await refusal(reader.read());
        same([error.source, error.streamErrorCode], ["stream", code], "the error");
      }
      made.close();
    }
  },
  async "stop: the client hears the server's code"() {
    // Chromium may see that the pipe is broken before it hears why, and then has no code.
    let told = 0;
    for (const code of CODES) {
      const made = await session(`/stop/${code}?code=${code}`);
      const stream = await made.createUnidirectionalStream();
      const writer = stream.getWriter();
      writer.write(bytes("x")).catch(() => {}); // refused as well, if that is in time
      const error = await refusal(writer.closed);
      if (error instanceof WebTransportError) {
        same([error.source, error.streamErrorCode], ["stream", code], "the error");
        told += 1;
      }
      made.close();
    }
    if (told === 0) throw new Error("no code was told");
  },
};

/** Run every check, one after the other. */
window.conform = async (there) => {
  where = there;
  for (const [name, check] of Object.entries(checks)) {
    let detail = "";
    try {
      const late = new Promise((_, fail) =>
        setTimeout(() => fail(new Error("nothing more happened")), PATIENCE_MS));
      await Promise.race([check(), late]);
    } catch (error) {
      detail = String(error?.stack ?? error);
    }
    window.emit("check", { name, ok: detail === "", detail });
  }
};
