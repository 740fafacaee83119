/** A call's legs: what is missing is sent again, and nothing else; every event is taken once. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { Broadcast } from "../../client/web/broadcast.js";
import { StreamCode } from "../../client/web/errors.js";
import { Ledger, MAX_UNNOTED } from "../../client/web/ledger.js";
import { WISHES, markOf, packet, pause, range, scene, speaking, until } from "./agent_leg.mjs";

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

test("a response whose connection is lost somewhere on its way goes on, whatever the code", async () => {
  for (const code of [StreamCode.CANCELLED, StreamCode.GOING_AWAY, StreamCode.SESSION_CLOSED]) {
    const { call, leg } = scene();
    const first = await leg(0);
    first.greet();
    const group = first.respond(0, range(0, 4));
    const response = (await call.responses[Symbol.asyncIterator]().next()).value;
    await until(() => response.frames === 4, "four frames");
    group.abort(code);
    await pause(10);
    assert.equal(response.cancelled, false, "nobody has taken it back");
    first.session.close(1, "gone");
    const second = await leg(1);
    second.greet({ from: [[0, 4]] });
    second.respond(0, range(4, 8)).finish();
    await until(() => response.ended, "its end");
    const marks = response.packets.map(({ packet: bytes }) => (bytes[1] << 8) | bytes[2]);
    assert.deepEqual(marks, range(0, 8));
    await call.hangUp({ lastWordsMs: 0 });
  }
});

test("a response that was reset, and of which nothing more is heard, was taken back", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  const group = first.respond(0, range(0, 4));
  const response = (await call.responses[Symbol.asyncIterator]().next()).value;
  await until(() => response.frames === 4, "four frames");
  group.abort();
  await until(() => response.cancelled, "the end of doubt");
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

test("an answer goes on that the agent's next process has from its journal", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  const responses = call.responses[Symbol.asyncIterator]();
  first.respond(0, range(0, 4));
  first.respond(1, range(4, 6));
  const [whole, short] = [(await responses.next()).value, (await responses.next()).value];
  await until(() => whole.frames === 4 && short.frames === 2, "what came before the kill");
  first.session.close(1, "killed");
  const second = await leg(1);
  assert.deepEqual(second.hello.have, [[0, 4, 0], [1, 2, 0]]);
  second.greet({ session: "one", from: [[0, 4], [1, 2]], short: [1] });
  second.respond(0, range(4, 10)).finish();
  second.respond(1, range(6, 7)).finish();
  await until(() => whole.ended && short.ended, "their ends");
  assert.deepEqual(whole.packets.map(({ packet: bytes }) => bytes[2]), range(0, 10));
  assert.deepEqual(short.packets.map(({ packet: bytes }) => bytes[2]), range(4, 7));
  const receipts = () => second.events.filter(({ type }) => type === "receipt");
  await until(() => receipts().length === 2, "the receipts");
  assert.deepEqual(
    receipts().map(({ speech, frames, complete }) => [speech, frames, complete]).sort(),
    [[0, 10, true], [1, 3, false]],
  );
  await call.hangUp({ lastWordsMs: 0 });
});
