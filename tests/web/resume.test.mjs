/** A call's legs: what is missing is sent again, and nothing else; every event is taken once. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { Broadcast, Origin } from "../../client/web/broadcast.js";
import { Call } from "../../client/web/call.js";
import { StreamCode } from "../../client/web/errors.js";
import { decodeLegacy, encodeLegacy } from "../../client/web/frames.js";
import { Ledger, MAX_UNNOTED } from "../../client/web/ledger.js";
import { Session } from "../../client/web/session.js";
import { versionOf } from "../../client/web/version.js";
import { pair } from "./memory_transport.mjs";

const VERSION = versionOf("moq-lite-06");
const WISHES = { priority: 80, ordered: true, maxAgeMs: 600_000 };
const packet = (mark) => Uint8Array.of(0xf8, mark >> 8, mark & 0xff);
const range = (from, to) => Array.from({ length: to - from }, (_, at) => from + at);
const pause = (ms = 10) => new Promise((done) => setTimeout(done, ms));

async function until(condition, what) {
  for (let left = 400; left > 0; left--) {
    if (condition()) return;
    await pause();
  }
  assert.fail(`never came: ${what}`);
}

const markOf = (payload) => {
  const { packet: bytes } = decodeLegacy(payload);
  return (bytes[1] << 8) | bytes[2];
};

/** An agent's end of one leg; what it is told it keeps, and it says what a test has it say. */
class AgentLeg {
  audio = new Map();
  past = new Map();
  events = [];
  hello = null;

  constructor(transport) {
    this.origin = new Origin();
    this.session = new Session(transport, VERSION, this.origin, { originId: 9 });
    this.session.start();
    void this.watch().catch(() => {});
  }

  async watch() {
    for await (const { path, active } of this.session.announced()) {
      if (active) this.meet(path);
    }
  }

  meet(path) {
    this.path = path;
    this.broadcast = new Broadcast();
    this.voice = this.broadcast.createTrack("audio", { priority: 80, ...WISHES });
    this.out = this.broadcast.createTrack("events", { priority: 120, ...WISHES }).append();
    void this.read(path, "audio", (group, payload) => this.keep(this.audio, group, payload));
    void this.read(path, "events", (_, payload) => this.take(payload));
  }

  readPast() {
    return this.read(this.path, "past", (group, payload) => this.keep(this.past, group, payload));
  }

  keep(where, { sequence }, payload) {
    where.set(sequence, [...(where.get(sequence) ?? []), markOf(payload)]);
  }

  take(payload) {
    const event = JSON.parse(new TextDecoder().decode(payload));
    if (event.type === "hello") this.hello = event;
    else this.events.push(event);
  }

  async read(path, track, take) {
    const reading = async (group) => {
      for await (const { payload } of group) take(group, payload);
    };
    try {
      for await (const group of this.session.subscribe(path, track, WISHES)) {
        void reading(group).catch(() => {});
      }
    } catch {
      // The connection is lost.
    }
  }

  /** Say hello, then answer under the leg's name. */
  greet({ session = "one", ...more } = {}) {
    this.tell({ type: "hello", session, grace_ms: 60_000, ...more });
    this.origin.publish(this.path.replace(/caller$/, "agent"), this.broadcast);
  }

  tell(event) {
    this.out.write(new TextEncoder().encode(JSON.stringify(event)), 0);
  }

  respond(number, marks) {
    const group = this.voice.create(number);
    for (const mark of marks) group.write(encodeLegacy(mark * 20_000, packet(mark)), 0);
    return group;
  }

  numbered(type) {
    return this.events.filter((event) => event.type === type).map(({ n }) => n);
  }
}

/** A call, and the legs of its agent. */
function scene() {
  const legs = [];
  const call = new Call(async (origin, originId) => {
    const [near, far] = pair();
    legs.push(new AgentLeg(far));
    return new Session(near, VERSION, origin, { originId });
  });
  const leg = async (number) => {
    await until(() => legs[number]?.hello, `hello of leg ${number}`);
    return legs[number];
  };
  return { call, leg };
}

async function speaking(call, marks) {
  const speech = call.speak();
  for (const mark of marks) speech.write(packet(mark));
  return speech;
}

test("an utterance goes on behind what was acknowledged; the rest is there for who lost it", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  const speech = await speaking(call, range(0, 10));
  await until(() => first.audio.get(0)?.length === 10, "ten frames");
  first.tell({ type: "ack", speech: 0, frames: 8 });
  await until(() => speech.ackedFrames === 8, "the ack");
  first.session.close(1, "gone");
  for (const mark of range(10, 20)) speech.write(packet(mark));
  speech.finish();
  const second = await leg(1);
  assert.equal(second.path, `${call.id}/1/caller`);
  assert.deepEqual(second.hello.from, [[0, 8]]);
  await until(() => second.audio.get(0)?.length === 12, "what was missing");
  assert.deepEqual(second.audio.get(0), range(8, 20));
  assert.equal(second.past.size, 0);
  void second.readPast();
  await until(() => second.past.get(0)?.length === 8, "what was before");
  assert.deepEqual(second.past.get(0), range(0, 8));
  await call.hangUp({ lastWordsMs: 0 });
});

test("what has its receipt, or was taken back, is not told again", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  const [heard, taken] = [await speaking(call, range(0, 3)), await speaking(call, range(0, 3))];
  heard.finish();
  taken.cancel();
  first.tell({ type: "receipt", n: 1, speech: 0, frames: 3, ms: 60, digest: "x", complete: true });
  await until(() => heard.receipt, "the receipt");
  const third = await speaking(call, range(5, 8));
  first.session.close(1, "gone");
  const second = await leg(1);
  await until(() => second.audio.get(2)?.length === 3, "the third");
  await pause(30);
  assert.deepEqual([...second.audio.keys()], [2]);
  assert.equal(second.hello.noted, 1);
  assert.equal(third.frames, 3);
  await call.hangUp({ lastWordsMs: 0 });
});

test("events that were not noted are told again, in order, with the numbers they had", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  for (const text of ["one", "two", "three"]) call.message("text", { text });
  await until(() => first.numbered("message").length === 3, "three messages");
  first.tell({ type: "noted", n: 2 });
  first.respond(0, range(0, 1)).finish();
  await until(() => first.numbered("receipt").length === 1, "a receipt");
  first.session.close(1, "gone");
  call.message("text", { text: "four" });
  const second = await leg(1);
  await until(() => second.events.length >= 3, "the events again");
  assert.deepEqual(second.events.map(({ type, n }) => [type, n]), [
    ["message", 3], ["receipt", 4], ["message", 5],
  ]);
  await call.hangUp({ lastWordsMs: 0 });
});

test("the agent's events are noted, and taken once", async () => {
  const { call, leg } = scene();
  const told = [];
  call.addEventListener("message", ({ detail }) => told.push(detail.data));
  const first = await leg(0);
  first.greet();
  call.message("text", { text: "hello" });
  first.tell({ type: "noted", n: 1 }); // the number of ours, which is none of its own
  first.tell({ type: "message", n: 1, name: "x", data: 1 });
  first.tell({ type: "message", n: 2, name: "x", data: 2 });
  await until(() => first.events.some(({ type, n }) => type === "noted" && n === 2), "noted");
  first.session.close(1, "gone");
  const second = await leg(1);
  assert.equal(second.hello.noted, 2);
  second.greet();
  second.tell({ type: "message", n: 2, name: "x", data: 2 });
  second.tell({ type: "message", n: 3, name: "x", data: 3 });
  await until(() => told.length === 3, "the third");
  assert.deepEqual(told, [1, 2, 3]);
  await call.hangUp({ lastWordsMs: 0 });
});

test("a response goes on with the frame that was missing, and twice is once", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  first.respond(0, range(0, 12));
  const response = (await call.responses[Symbol.asyncIterator]().next()).value;
  await until(() => response.frames === 12, "its first half");
  first.session.close(1, "gone");
  const second = await leg(1);
  assert.deepEqual(second.hello.have, [[0, 12, 0]]);
  assert.equal(second.hello.next, 1);
  second.respond(0, range(10, 20)).finish();
  second.greet({ from: [[0, 10]] });
  await until(() => response.ended, "its end");
  const marks = response.packets.map(({ packet: bytes }) => (bytes[1] << 8) | bytes[2]);
  assert.deepEqual(marks, range(0, 20));
  await until(() => second.numbered("receipt").length, "the receipt");
  const receipt = second.events.find(({ type }) => type === "receipt");
  assert.deepEqual([receipt.frames, receipt.complete, receipt.resumptions], [20, true, 1]);
  await call.hangUp({ lastWordsMs: 0 });
});

test("a response of which only the end was missing ends", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  first.respond(0, range(0, 3));
  const response = (await call.responses[Symbol.asyncIterator]().next()).value;
  await until(() => response.frames === 3, "its frames");
  first.session.close(1, "gone");
  const second = await leg(1);
  second.respond(0, []).finish();
  second.greet({ from: [[0, 3]] });
  await until(() => response.ended, "its end");
  await call.hangUp({ lastWordsMs: 0 });
});

test("what the agent has let go of is told as missing", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  first.respond(0, range(0, 3));
  const response = (await call.responses[Symbol.asyncIterator]().next()).value;
  await until(() => response.frames === 3, "its frames");
  first.session.close(1, "gone");
  const second = await leg(1);
  second.respond(0, range(7, 9)).finish();
  second.greet({ from: [[0, 7]] });
  await until(() => second.numbered("receipt").length, "the receipt");
  const receipt = second.events.find(({ type }) => type === "receipt");
  assert.deepEqual([receipt.complete, receipt.missing, receipt.frames], [false, [[3, 6]], 5]);
  await call.hangUp({ lastWordsMs: 0 });
});

test("an agent that has lost the call ends what was under way; numbers are not used again", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  first.respond(0, range(0, 3));
  const responses = call.responses[Symbol.asyncIterator]();
  const response = (await responses.next()).value;
  await until(() => response.frames === 3, "its frames");
  await speaking(call, range(0, 2));
  first.tell({ type: "message", n: 9, name: "x", data: 1 });
  await until(() => first.events.some(({ type }) => type === "noted"), "noted");
  first.session.close(1, "gone");
  const second = await leg(1);
  assert.equal(second.hello.session, "one");
  second.greet({ session: "two", next: 5 });
  second.tell({ type: "message", n: 1, name: "x", data: "from the new one" });
  await until(() => response.ended, "its end");
  second.respond(second.hello.next, range(50, 52)).finish();
  const other = (await responses.next()).value;
  await until(() => other.ended, "the new one");
  assert.deepEqual([response.number, other.number], [0, 1]);
  const told = new Promise((done) => call.addEventListener("message", done, { once: true }));
  second.tell({ type: "message", n: 2, name: "x", data: "and on" });
  assert.equal((await told).detail.data, "and on");
  assert.equal((await speaking(call, range(0, 1))).number, 5);
  await call.hangUp({ lastWordsMs: 0 });
});

test("an agent whose broadcast goes away without a bye is met on a new leg", async () => {
  const { call, leg } = scene();
  const only = await leg(0);
  only.greet();
  const speech = await speaking(call, range(0, 5));
  await until(() => only.audio.get(0)?.length === 5, "its frames");
  only.tell({ type: "ack", speech: 0, frames: 4 });
  await until(() => speech.ackedFrames === 4, "the ack");
  only.origin.withdraw(only.path.replace(/caller$/, "agent"));
  await until(() => only.hello.leg === 1, "the next leg, over the same connection");
  assert.equal(only.path, `${call.id}/1/caller`);
  await until(() => only.audio.get(0)?.length === 6, "what was missing");
  assert.equal(call.reconnects, 0);
  await call.hangUp({ lastWordsMs: 0 });
});

test("an agent that came late asks for the next leg, and gets all of it there", async () => {
  const { call, leg } = scene();
  const only = await leg(0);
  await speaking(call, range(0, 5));
  await until(() => only.audio.get(0)?.length === 5, "its frames");
  only.origin.publish(`${call.id}/again/please`, new Broadcast());
  await until(() => only.hello.leg === 1, "the next leg");
  assert.equal(only.hello.again, "please");
  await until(() => only.audio.get(0)?.length === 10, "all of it, once more");
  await call.hangUp({ lastWordsMs: 0 });
});

test("a first leg tells whether an agent was there before", async () => {
  const { call, leg } = scene();
  const only = await leg(0);
  const ask = async (name) => {
    try {
      for await (const group of only.session.subscribe(only.path, name, WISHES)) void group;
      return "ended";
    } catch (error) {
      return error.code;
    }
  };
  assert.equal(only.hello.shows, true);
  const early = ask("unanswered/one");
  assert.equal(await Promise.race([early, pause(100).then(() => "there")]), "there");
  const speech = await speaking(call, range(0, 5));
  only.greet({ have: [[0, 5, 0]] });
  await until(() => speech.ackedFrames === 5, "its hello");
  assert.equal(await ask("unanswered/two"), StreamCode.CANCELLED);
  assert.equal(await ask("something else"), StreamCode.NOT_FOUND);
  await call.hangUp({ lastWordsMs: 0 });
});

test("an agent that said bye is left alone, and so is one that hears it", async () => {
  const { call, leg } = scene();
  const only = await leg(0);
  only.greet();
  await until(() => call.marks.agent, "the agent");
  only.tell({ type: "bye" });
  await pause(50);
  only.origin.withdraw(only.path.replace(/caller$/, "agent"));
  await pause(400);
  assert.equal(only.hello.leg, 0);
  await call.hangUp({ lastWordsMs: 300 });
  assert.equal(only.events.at(-1).type, "bye");
});

test("each leg's token hashes to the one before, and none is shown twice", async () => {
  const { call, leg } = scene();
  const tokens = [];
  for (const number of range(0, 3)) {
    const each = await leg(number);
    assert.equal(each.hello.leg, number);
    tokens.push(each.hello.token);
    each.session.close(1, "gone");
  }
  const hash = (token) => createHash("sha256").update(Buffer.from(token, "hex")).digest("hex");
  assert.equal(hash(tokens[1]), tokens[0]);
  assert.equal(hash(tokens[2]), tokens[1]);
  await call.hangUp({ lastWordsMs: 0 });
});

test("an agent that says no hello is offered everything, also by the name of a beginning", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  await speaking(call, range(0, 5));
  await until(() => first.audio.get(0)?.length === 5, "five frames");
  first.session.close(1, "gone");
  const second = await leg(1);
  assert.deepEqual(second.hello.from, []);
  await until(() => second.audio.get(0)?.length === 5, "all of it");
  const found = [];
  void second.read("caller", "audio", (_, payload) => found.push(markOf(payload)));
  await until(() => found.length === 5, "all of it, by the plain name");
  await call.hangUp({ lastWordsMs: 0 });
});

test("the ledger keeps so many events and no more", () => {
  const ledger = new Ledger();
  for (const at of range(0, MAX_UNNOTED + 5)) ledger.enter({ type: "message", name: "x", at }, 0);
  assert.equal(ledger.unnoted().length, MAX_UNNOTED);
  assert.equal(ledger.unnoted()[0].at, 5);
  assert.equal(ledger.enter({ type: "ack" }, 0).n, undefined);
  assert.equal(ledger.enter({ type: "heard", state: "playing" }, 0).n, undefined);
  assert.equal(ledger.enter({ type: "heard", state: "ended" }, 0).n, MAX_UNNOTED + 6);
});
