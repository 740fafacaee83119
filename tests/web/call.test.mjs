/** Calls that lose their connection: nothing said is lost, nothing is heard twice. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Broadcast, Origin } from "../../client/web/broadcast.js";
import { Call } from "../../client/web/call.js";
import { Unavailable } from "../../client/web/errors.js";
import { decodeLegacy, encodeLegacy } from "../../client/web/frames.js";
import { decodeEvent } from "../../client/web/inbox.js";
import { Session } from "../../client/web/session.js";
import { Response, digestOf } from "../../client/web/speech.js";
import { versionOf } from "../../client/web/version.js";
import { hungUpAfter } from "./hanging_up.mjs";
import { pair } from "./memory_transport.mjs";

const VERSION = versionOf("moq-lite-06");
const WISHES = { priority: 80, ordered: true, maxAgeMs: 600_000 };
const packet = (mark) => Uint8Array.of(0xf8, mark >> 8, mark & 0xff);
const pause = (ms = 10) => new Promise((done) => setTimeout(done, ms));

async function until(condition, what) {
  for (let left = 300; left > 0; left--) {
    if (condition()) return;
    await pause();
  }
  assert.fail(`never came: ${what}`);
}

/** An agent's end of one connection: takes everything, answers what a test tells it to. */
class FarEnd {
  speeches = new Map();
  events = [];
  watched = false;

  constructor(transport) {
    this.origin = new Origin();
    this.session = new Session(transport, VERSION, this.origin, { originId: 9 });
    this.broadcast = new Broadcast();
    const kept = { ordered: true, maxAgeMs: 600_000 };
    this.audio = this.broadcast.createTrack("audio", { priority: 80, ...kept });
    this.out = this.broadcast.createTrack("events", { priority: 120, ...kept }).append();
    this.session.start();
    this.done = this.run().catch(() => {});
  }

  async run() {
    for await (const { path, active } of this.session.announced()) {
      if (!active) continue;
      this.id = path.replace(/\/caller$/, "");
      this.origin.publish(`${this.id}/agent`, this.broadcast);
      void this.read(path, "audio", (group, frame) => {
        const packets = this.speeches.get(group.sequence) ?? [];
        this.speeches.set(group.sequence, [...packets, frame]);
      }, (group) => void this.acknowledge(group.sequence));
      void this.read(path, "events", (_, frame) => this.events.push(decodeEvent(frame)), () => {});
    }
  }

  /** Read a track until the connection is lost. */
  async read(path, track, take, ended) {
    const reading = async (group) => {
      for await (const { payload } of group) take(group, payload);
      ended(group);
    };
    try {
      for await (const group of this.session.subscribe(path, track, WISHES)) {
        void reading(group).catch(() => {});
      }
    } catch (error) {
      assert.equal(error.name, "StreamEnded");
    }
  }

  async acknowledge(speech) {
    const frames = this.speeches.get(speech) ?? [];
    const digest = await digestOf(frames);
    this.tell({ type: "receipt", speech, frames: frames.length, ms: 20 * frames.length, digest,
      added_delay_ms: 0, complete: true });
  }

  tell(event) {
    this.out.write(new TextEncoder().encode(JSON.stringify(event)), 0);
  }

  marks(speech) {
    return (this.speeches.get(speech) ?? []).map((payload) => {
      const bytes = decodeLegacy(payload).packet;
      return (bytes[1] << 8) | bytes[2];
    });
  }
}

/** A call, and the far ends of the connections it has made. */
function scene({ refuse = 0 } = {}) {
  const ends = [];
  let refusals = refuse;
  const call = hungUpAfter(new Call(async (origin, originId) => {
    if (refusals-- > 0) throw new Unavailable("network", "nothing answers");
    const [near, far] = pair();
    ends.push(new FarEnd(far));
    return new Session(near, VERSION, origin, { originId });
  }));
  return { call, ends, last: () => ends.at(-1) };
}

const range = (from, to) => Array.from({ length: to - from }, (_, at) => from + at);

test("what is said while nothing answers is kept and arrives whole", async () => {
  const { call, last } = scene({ refuse: 2 });
  const speech = call.speak();
  for (const mark of range(0, 30)) speech.write(packet(mark));
  speech.finish();
  await speech.receipted;
  await until(() => speech.intact, "the verdict");
  assert.deepEqual(last().marks(0), range(0, 30));
  await call.hangUp();
});

test("an utterance cut off in the middle is sent again whole, earlier ones are not", async () => {
  const { call, ends, last } = scene();
  const first = call.speak();
  first.write(packet(7));
  first.finish();
  await first.receipted;
  const second = call.speak();
  for (const mark of range(0, 10)) second.write(packet(mark));
  await until(() => last().marks(1).length === 10, "half an utterance");
  last().session.close(0, "restarting");
  for (const mark of range(10, 25)) second.write(packet(mark));
  await until(() => ends.length === 2, "a new connection");
  for (const mark of range(25, 30)) second.write(packet(mark));
  second.finish();
  await second.receipted;
  assert.equal(second.intact, true);
  assert.deepEqual(last().marks(1), range(0, 30));
  assert.deepEqual(last().marks(0), []);
  assert.equal(call.reconnects, 1);
  await call.hangUp();
});

function respond(end, marks, from = 0) {
  const group = end.audio.append();
  for (const mark of marks) group.write(encodeLegacy(from + mark * 20_000, packet(mark)), 0);
  return group;
}

test("a response that is sent again goes on where it stopped", async () => {
  const { call, ends, last } = scene();
  await until(() => last()?.id, "the call");
  respond(last(), range(0, 12));
  const [response] = [(await call.responses[Symbol.asyncIterator]().next()).value];
  await until(() => response.frames === 12, "its first half");
  last().session.close();
  await until(() => ends.length === 2 && last().id, "a new connection");
  assert.equal(response.over, false);
  respond(last(), range(0, 20)).finish();
  await until(() => response.ended, "its end");
  assert.equal(response.frames, 20);
  await until(() => last().events.some(({ type }) => type === "receipt"), "the receipt");
  const receipt = last().events.find(({ type }) => type === "receipt");
  assert.deepEqual([receipt.frames, receipt.complete], [20, true]);
  await call.hangUp();
});

test("another response under a known number is another response", async () => {
  const { call, ends, last } = scene();
  await until(() => last()?.id, "the call");
  respond(last(), range(0, 5));
  const responses = call.responses[Symbol.asyncIterator]();
  const one = (await responses.next()).value;
  await until(() => one.frames === 5, "the first one");
  last().session.close();
  await until(() => ends.length === 2 && last().id, "a new connection");
  respond(last(), range(0, 3), 9_000_000).finish();
  const other = (await responses.next()).value;
  await until(() => other.ended, "the second one");
  assert.deepEqual([one.number, other.number, one.item, other.item], [0, 0, 0, 1]);
  assert.deepEqual([one.ended, one.frames, other.frames], [true, 5, 3]);
  await call.hangUp();
});

test("events of before are not told to an agent that begins anew, messages are", async () => {
  const { call, ends, last } = scene();
  await until(() => last()?.id, "the call");
  respond(last(), range(0, 2));
  const response = (await call.responses[Symbol.asyncIterator]().next()).value;
  call.report(response, { heardUs: 20_000, state: "interrupted", silenceUs: 0, underruns: 0, leadUs: 0 });
  call.message("text", { text: "hello" });
  const types = () => last().events.map(({ type }) => type).sort();
  await until(() => types().length >= 5, "the events");
  assert.deepEqual(types(), ["ack", "heard", "hello", "message", "receipt"]);
  last().session.close();
  await until(() => ends.length === 2 && last().events.length, "the events again");
  await pause(30);
  assert.deepEqual(types(), ["hello", "message"]);
  await call.hangUp();
});

test("a response that is taken back ends, and says so", async () => {
  const { call, last } = scene();
  await until(() => last()?.id, "the call");
  const group = respond(last(), range(0, 3));
  const response = (await call.responses[Symbol.asyncIterator]().next()).value;
  await until(() => response.frames === 3, "three frames");
  group.abort();
  await until(() => response.cancelled, "the reset");
  assert.equal(response.ended, false);
  respond(last(), range(0, 3)).finish();
  const second = (await call.responses[Symbol.asyncIterator]().next()).value;
  await until(() => second.ended, "the next one");
  last().tell({ type: "cancel", speech: 1 });
  await until(() => second.cancelled, "the cancel, which a reset can't bring any more");
  await call.hangUp();
});

test("captions that come before their response are kept for it", async () => {
  const { call, last } = scene();
  await until(() => last()?.id, "the call");
  const captioned = new Promise((done) => call.addEventListener("caption", done, { once: true }));
  last().tell({ type: "caption", speech: 0, text: "early", start_us: 0 });
  await captioned;
  respond(last(), range(0, 1));
  const response = (await call.responses[Symbol.asyncIterator]().next()).value;
  last().tell({ type: "caption", speech: 0, text: "late", start_us: 9 });
  await until(() => response.captions.length === 2, "both");
  assert.deepEqual(response.captions.map(({ text }) => text), ["early", "late"]);
  await call.hangUp();
});

test("a silent connection is replaced when an acknowledgement is due", async () => {
  const { call, ends, last } = scene();
  await until(() => last()?.id, "the call");
  const dead = last();
  dead.read = async () => {};
  dead.acknowledge = async () => {};
  const speech = call.speak();
  for (const mark of range(0, 40)) speech.write(packet(mark));
  speech.finish();
  const began = performance.now();
  await until(() => ends.length === 2, "a second connection").catch(() => {});
  await speech.receipted;
  assert.ok(performance.now() - began < 6_000);
  assert.ok(dead.session.isClosed);
  assert.deepEqual(last().marks(0), range(0, 40));
  await call.hangUp();
});

test("broken events are refused, unknown ones passed over", () => {
  const text = (value) => new TextEncoder().encode(value);
  assert.equal(decodeEvent(text('{"type":"later","x":1}')), null);
  assert.equal(decodeEvent(text('{"type":"toString"}')), null);
  for (const broken of ["", "[", '{"type":"ack","speech":"0","frames":1}', '{"type":"caption"}']) {
    assert.throws(() => decodeEvent(text(broken)), { name: "MediaError" });
  }
  assert.throws(() => decodeEvent(new Uint8Array(65 * 1024)), { name: "MediaError" });
});

test("a response reports its delay against its fastest frame", async () => {
  const response = new Response(3, 0);
  response.add(encodeLegacy(0, packet(0)), 100);
  response.add(encodeLegacy(20_000, packet(1)), 170);
  response.add(encodeLegacy(40_000, packet(2)), 145);
  response.finish();
  const receipt = await response.receipt();
  assert.equal(receipt.added_delay_ms, 5);
  assert.equal(receipt.worst_delay_ms, 50);
  assert.equal(receipt.ms, 60);
});
