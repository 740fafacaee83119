/** The WebSocket transport against a peer that says exactly what a test tells it to. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { socketAddressOf } from "../../client/web/dial.js";
import { decodeRecord, encodeFrame } from "../../client/web/qmux.js";
import { WebSocketTransport } from "../../client/web/websocket.js";

const LIMITS = {
  maxIdleTimeoutMs: 30_000, maxData: 1_000_000, maxStreamDataBidiLocal: 100_000,
  maxStreamDataBidiRemote: 100_000, maxStreamDataUni: 100_000, maxStreamsBidi: 10,
  maxStreamsUni: 10, maxRecordBytes: 16_384,
};

/** A socket whose far end is the test. */
class FarEnd {
  static OPEN = 1;
  static last = null;
  readyState = 1;
  bufferedAmount = 0;
  sent = [];
  closedWith = null;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FarEnd.last = this;
  }

  send(message) {
    this.sent.push(message);
  }

  close(code) {
    this.closedWith ??= code;
  }

  accept(protocol = "qmux-02.moq-lite-06") {
    this.protocol = protocol;
    this.onopen();
  }

  say(...frames) {
    for (const frame of frames) {
      const bytes = encodeFrame(frame);
      this.onmessage({ data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) });
    }
  }

  /** Frames that came since the last call, once everything due was sent. */
  async heard() {
    await new Promise((done) => setTimeout(done, 0));
    return this.sent.splice(0).flatMap((message) => decodeRecord(message));
  }
}

globalThis.WebSocket = FarEnd;

async function connected(t, { protocol, ...limits } = {}) {
  const transport = new WebSocketTransport("ws://x/", { protocols: ["moq-lite-06"] });
  t.after(() => transport.close());
  const far = FarEnd.last;
  far.accept(protocol);
  far.say({ type: "Hello", parameters: { ...LIMITS, ...limits } });
  await transport.ready;
  await far.heard();
  return [transport, far];
}

const reading = async (readable) => {
  const chunks = [];
  for await (const chunk of readable) chunks.push(...chunk);
  return chunks;
};

const closing = (transport) => transport.closed.then((info) => info, (error) => error.message);

test("it offers every QMux version, and knows the protocol that was chosen", async (t) => {
  const transport = new WebSocketTransport("ws://x/", { protocols: ["moq-lite-06"] });
  t.after(() => transport.close());
  const far = FarEnd.last;
  assert.deepEqual(far.protocols, [
    "qmux-02.moq-lite-06", "qmux-01.moq-lite-06", "qmux-00.moq-lite-06",
  ]);
  far.accept("qmux-01.moq-lite-06");
  assert.equal((await far.heard())[0].type, "Hello");
  far.say({ type: "Hello", parameters: LIMITS });
  await transport.ready;
  assert.equal(transport.protocol, "moq-lite-06");
});

test("bytes go both ways on both kinds of streams", async (t) => {
  const [transport, far] = await connected(t);
  const { readable, writable } = await transport.createBidirectionalStream();
  const writer = writable.getWriter();
  void writer.write(Uint8Array.of(1, 2));
  void writer.close();
  const heard = [...await far.heard(), ...await far.heard()];
  assert.deepEqual(heard.flatMap(({ data }) => [...data]), [1, 2]);
  assert.deepEqual(heard.at(-1), {
    type: "Segment", stream: 0, offset: 2, data: new Uint8Array(0), fin: true,
  });
  far.say({ type: "Segment", stream: 0, offset: 0, data: Uint8Array.of(3), fin: false });
  far.say({ type: "Segment", stream: 0, offset: 1, data: Uint8Array.of(4), fin: true });
  assert.deepEqual(await reading(readable), [3, 4]);
  far.say({ type: "Segment", stream: 3, offset: 0, data: Uint8Array.of(5), fin: true });
  const { value } = await transport.incomingUnidirectionalStreams.getReader().read();
  assert.deepEqual(await reading(value), [5]);
});

test("nothing is sent beyond what the peer allows of a stream and of all", async (t) => {
  const [transport, far] = await connected(t, { maxStreamDataUni: 1_000, maxData: 1_500 });
  const one = (await transport.createUnidirectionalStream()).getWriter();
  const two = (await transport.createUnidirectionalStream()).getWriter();
  one.write(new Uint8Array(2_000)).catch(() => {}); // it may wait for ever
  two.write(new Uint8Array(2_000)).catch(() => {});
  const bytesOf = (frames) => frames.map(({ stream, data }) => [stream, data.length]);
  assert.deepEqual(bytesOf(await far.heard()), [[2, 1_000], [6, 500]]);
  far.say({ type: "MaxStreamData", stream: 2, limitBytes: 9_000 });
  assert.deepEqual(await far.heard(), [], "the limit of all streams still holds");
  far.say({ type: "MaxData", limitBytes: 9_000 });
  assert.deepEqual(bytesOf(await far.heard()), [[2, 1_000], [6, 500]]);
});

test("more urgent streams go first, also when they came later", async (t) => {
  const [transport, far] = await connected(t);
  far.bufferedAmount = 100_000; // the socket is busy
  const low = (await transport.createUnidirectionalStream({ sendOrder: 1 })).getWriter();
  const high = (await transport.createUnidirectionalStream({ sendOrder: 2 })).getWriter();
  void low.write(Uint8Array.of(1));
  void high.write(Uint8Array.of(2));
  assert.deepEqual(await far.heard(), []);
  far.bufferedAmount = 0;
  await new Promise((done) => setTimeout(done, 30));
  assert.deepEqual((await far.heard()).map(({ stream }) => stream), [6, 2]);
});

test("a stream waits until the peer allows it", async (t) => {
  const [transport, far] = await connected(t, { maxStreamsUni: 1 });
  await transport.createUnidirectionalStream();
  let opened = false;
  const second = transport.createUnidirectionalStream().then(() => (opened = true));
  await far.heard();
  assert.equal(opened, false);
  far.say({ type: "MaxStreams", bidirectional: false, count: 2 });
  await second;
});

test("resets and stops carry their codes, also past a write that waits for credit", async (t) => {
  const [transport, far] = await connected(t, { maxStreamDataUni: 1 });
  const writer = (await transport.createUnidirectionalStream()).getWriter();
  writer.closed.catch(() => {});
  writer.write(new Uint8Array(10)).catch(() => {});
  assert.equal((await far.heard()).length, 1);
  writer.abort(Object.assign(new Error("enough"), { streamErrorCode: 7 })).catch(() => {});
  assert.deepEqual(await far.heard(), [
    { type: "ResetStream", stream: 2, code: 7, finalBytes: 1 },
  ]);

  const other = (await transport.createUnidirectionalStream()).getWriter();
  far.say({ type: "StopSending", stream: 6, code: 9 });
  await assert.rejects(other.closed, ({ streamErrorCode }) => streamErrorCode === 9);
  assert.deepEqual(await far.heard(), [
    { type: "ResetStream", stream: 6, code: 9, finalBytes: 0 },
  ]);

  far.say({ type: "Segment", stream: 3, offset: 0, data: Uint8Array.of(1), fin: false });
  far.say({ type: "Segment", stream: 7, offset: 0, data: Uint8Array.of(1), fin: false });
  const streams = transport.incomingUnidirectionalStreams.getReader();
  const first = (await streams.read()).value.getReader();
  const second = (await streams.read()).value;
  far.say({ type: "ResetStream", stream: 3, code: 5, finalBytes: 1 });
  await assert.rejects(first.read(), ({ streamErrorCode }) => streamErrorCode === 5);
  await second.cancel(Object.assign(new Error("no more"), { streamErrorCode: 4 }));
  assert.deepEqual(await far.heard(), [{ type: "StopSending", stream: 7, code: 4 }]);
});

test("credit is given for what was read, and for streams that are over", async (t) => {
  const [transport, far] = await connected(t);
  const streams = transport.incomingUnidirectionalStreams.getReader();
  far.say({ type: "Segment", stream: 3, offset: 0, data: new Uint8Array(100_000), fin: false });
  assert.deepEqual(await far.heard(), [], "nothing was read yet");
  const reader = (await streams.read()).value.getReader();
  await reader.read();
  assert.deepEqual(await far.heard(), [
    { type: "MaxStreamData", stream: 3, limitBytes: 100_000 + 256 * 1024 },
  ]);
  for (let at = 1; at <= 256; at++) {
    far.say({ type: "Segment", stream: 3 + 4 * at, offset: 0, data: new Uint8Array(0), fin: true });
    await reading((await streams.read()).value);
  }
  assert.deepEqual(await far.heard(), [
    { type: "MaxStreams", bidirectional: false, count: 1_024 + 256 },
  ]);
});

const VIOLATIONS = {
  "a peer that is silent about its limits":
    { unmet: true, frame: { type: "MaxData", limitBytes: 1 }, code: 0xa },
  "bytes beyond a stream's limit": {
    frame: { type: "Segment", stream: 3, offset: 0, data: new Uint8Array(300_000), fin: false },
    code: 0x3,
  },
  "bytes that are not the next": {
    frame: { type: "Segment", stream: 3, offset: 5, data: Uint8Array.of(1), fin: false }, code: 0xa,
  },
  "a stream too many": {
    frame: { type: "Segment", stream: 3 + 4 * 1_024, offset: 0, data: Uint8Array.of(1), fin: false },
    code: 0x4,
  },
  "bytes on a stream that only we send on": {
    frame: { type: "Segment", stream: 2, offset: 0, data: Uint8Array.of(1), fin: false }, code: 0x5,
  },
  "a stop of a stream that was never opened":
    { frame: { type: "StopSending", stream: 2, code: 0 }, code: 0x5 },
  "a datagram": { frame: { type: "Datagram", data: Uint8Array.of(1) }, code: 0xa },
  "limits that come twice": { frame: { type: "Hello", parameters: LIMITS }, code: 0xa },
};
for (const [name, { unmet = false, frame, code }] of Object.entries(VIOLATIONS)) {
  test(`${name} ends the connection, with a reason`, async () => {
    const transport = new WebSocketTransport("ws://x/", { protocols: ["moq-lite-06"] });
    const far = FarEnd.last;
    far.accept();
    if (!unmet) far.say({ type: "Hello", parameters: LIMITS });
    await far.heard();
    far.say(frame);
    assert.notEqual(await closing(transport), undefined);
    const [goodbye] = await far.heard();
    assert.deepEqual([goodbye.type, goodbye.isTransport, goodbye.code], ["Close", true, code]);
    assert.notEqual(far.closedWith, null);
  });
}

test("the peer's close is told, and so is a connection that breaks", async (t) => {
  const [transport, far] = await connected(t);
  const waiting = transport.incomingBidirectionalStreams.getReader().read();
  far.say({ type: "Close", code: 42, isTransport: false, reason: "bye" });
  assert.deepEqual(await transport.closed, { closeCode: 42, reason: "bye" });
  assert.equal((await waiting).done, true);
  await assert.rejects(transport.createUnidirectionalStream());

  const [broken, end] = await connected(t);
  const { readable, writable } = await broken.createBidirectionalStream();
  end.onclose({ code: 1006, reason: "" });
  await assert.rejects(broken.closed, /lost/);
  await assert.rejects(readable.getReader().read());
  await assert.rejects(writable.getWriter().closed);
});

test("a ping is answered, where the version has them", async (t) => {
  const [, far] = await connected(t);
  far.say({ type: "Ping", number: 1 }, { type: "Ping", number: 2 });
  assert.deepEqual(await far.heard(), [{ type: "Pong", number: 2 }]);
});

test("on QMux 00 a message is one frame", async (t) => {
  const [transport, far] = await connected(t, { protocol: "qmux-00.moq-lite-06" });
  for (const byte of [1, 2]) {
    void (await transport.createUnidirectionalStream()).getWriter().write(Uint8Array.of(byte));
  }
  await new Promise((done) => setTimeout(done, 0));
  assert.deepEqual(far.sent.map((message) => decodeRecord(message).length), [1, 1]);
});

test("a self-signed certificate is done without on this machine only", () => {
  const pinned = { certificateHashes: ["ab"], pageScheme: "http:" };
  const address = (url, options) => socketAddressOf(url, "t", options);
  assert.equal(address("https://localhost:4443/room", pinned), "ws://localhost:4443/room?jwt=t");
  assert.equal(address("https://127.0.0.1:4443/", pinned), "ws://127.0.0.1:4443/?jwt=t");
  assert.equal(address("https://127.0.0.1.example/", pinned), "wss://127.0.0.1.example/?jwt=t");
  assert.equal(address("https://localhost/", { ...pinned, pageScheme: "https:" }), "wss://localhost/?jwt=t");
  assert.equal(address("https://localhost/", { pageScheme: "http:" }), "wss://localhost/?jwt=t");
});
