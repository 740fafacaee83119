/** Servers that ask to move: the call is on the next connection before it leaves the old one. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { StreamCode } from "../../client/web/errors.js";
import { MAX_URLS, Ways } from "../../client/web/ways.js";
import { packet, range, scene, speaking, until } from "./agent_leg.mjs";

const next = async (responses) => (await responses.next()).value;

test("no frame waits for the agent to follow: it is told on both connections until it has", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  const speech = await speaking(call, range(0, 10));
  await until(() => first.audio.get(0)?.length === 10, "ten frames");
  first.tell({ type: "ack", speech: 0, frames: 8 });
  await until(() => speech.ackedFrames === 8, "the ack");
  await first.goaway();
  const second = await leg(1);
  for (const mark of range(10, 20)) speech.write(packet(mark));
  const other = await speaking(call, range(50, 53));
  await until(() => first.audio.get(0).length === 20, "all of it, on the old connection");
  await until(() => first.audio.get(1)?.length === 3, "the next utterance, too");
  await until(() => second.audio.get(0)?.length === 12, "what was not acknowledged");
  await until(() => second.audio.get(1)?.length === 3, "the next utterance, as well");
  assert.equal(first.session.isClosed, false);
  second.greet({ have: [[0, 20, 0], [1, 3, 0]] });
  await until(() => first.session.isClosed, "the end of the old connection");
  for (const mark of range(20, 25)) speech.write(packet(mark));
  speech.finish();
  other.finish();
  await until(() => second.audio.get(0).length === 17, "the rest");
  assert.deepEqual(second.audio.get(0), range(8, 25));
  assert.equal(first.audio.get(0).length, 20);
  assert.equal(call.reconnects, 1);
  assert.equal(call.state, "open");
  await call.hangUp({ lastWordsMs: 0 });
});

test("events are told on both connections, with the same numbers", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  await until(() => call.marks.agent, "the agent");
  await first.goaway();
  const second = await leg(1);
  call.message("text", { text: "meanwhile" });
  await until(() => first.numbered("message").length === 1, "the old connection's");
  await until(() => second.numbered("message").length === 1, "the new one's");
  assert.deepEqual(first.numbered("message"), second.numbered("message"));
  second.greet();
  await until(() => first.session.isClosed, "the end of the old connection");
  await call.hangUp({ lastWordsMs: 0 });
});

test("an answer goes on where the agent has followed, and is whole", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  const group = first.respond(0, range(0, 12));
  const response = await next(call.responses[Symbol.asyncIterator]());
  await until(() => response.frames === 12, "its first part");
  await first.goaway();
  const second = await leg(1);
  assert.deepEqual(second.hello.have, [[0, 12, 0]]);
  group.abort(StreamCode.CANCELLED); // the agent has followed, and withdraws what it had there
  first.origin.withdraw(first.path.replace(/caller$/, "agent"));
  second.respond(0, range(12, 20)).finish();
  second.greet({ from: [[0, 12]] });
  await until(() => response.over, "its end");
  assert.equal(response.cancelled, false);
  assert.equal(response.frames, 20);
  await until(() => second.numbered("receipt").length, "the receipt");
  assert.deepEqual(second.numbered("receipt").length, 1);
  await call.hangUp({ lastWordsMs: 0 });
});

test("an answer whose end comes over both connections is told of once", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  const group = first.respond(0, range(0, 12));
  const response = await next(call.responses[Symbol.asyncIterator]());
  await until(() => response.frames === 12, "its frames");
  await first.goaway();
  const second = await leg(1);
  group.finish();
  await until(() => response.ended, "its end");
  second.respond(0, []).finish();
  second.greet({ from: [[0, 12]] });
  await until(() => first.session.isClosed, "the end of the old connection");
  assert.deepEqual(second.numbered("receipt").length, 1);
  await call.hangUp({ lastWordsMs: 0 });
});

test("a server that asks to move is kept until another one answers", async () => {
  const asked = [];
  let left = 1;
  const { call, leg } = scene({
    refuse: (goaway) => {
      asked.push(goaway);
      return asked.length > 1 && left-- > 0;
    },
  });
  const first = await leg(0);
  first.greet();
  const speech = await speaking(call, range(0, 3));
  await first.goaway("https://elsewhere.example/");
  await until(() => asked.length === 2, "an attempt");
  speech.write(packet(3));
  await until(() => first.audio.get(0)?.length === 4, "what is said meanwhile");
  assert.equal(call.state, "open");
  const second = await leg(1);
  second.greet();
  await until(() => first.session.isClosed, "the end of the old connection");
  assert.deepEqual(asked, [null, "https://elsewhere.example/", null]);
  await call.hangUp({ lastWordsMs: 0 });
});

test("a caller that hangs up while it moves says so on both connections", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  await until(() => call.marks.agent, "the agent");
  await first.goaway();
  const second = await leg(1);
  await call.hangUp({ lastWordsMs: 300 });
  for (const each of [first, second]) {
    assert.equal(each.events.at(-1).type, "bye");
    assert.ok(each.session.isClosed);
  }
});

/** Dials that are noted; `dead` names those that fail. */
function noted(dead = []) {
  const tried = [];
  const dial = async (url) => {
    tried.push(url);
    if (dead.includes(url)) throw new Error(`${url} does not answer`);
    return { url, close() {} };
  };
  return { tried, dial };
}

const [ONE, TWO] = ["https://one.example/", "https://two.example/"];

test("the next URL is tried when the first fails, and is the first from then on", async () => {
  const { tried, dial } = noted([ONE]);
  const ways = new Ways([ONE, TWO]);
  assert.equal((await ways.open(dial)).url, TWO);
  assert.deepEqual(tried, [ONE, TWO]);
  await ways.open(dial);
  assert.deepEqual(tried, [ONE, TWO, TWO]);
});

for (const [goaway, there] of [
  ["", TWO],
  ["https://three.example/room", "https://three.example/room"],
  ["moqt://three.example:4443/room", "https://three.example:4443/room"],
  ["javascript:alert(1)", TWO],
  ["http://three.example/", TWO],
  ["https://", TWO],
  ["not a URL", TWO],
]) {
  test(`a server that points to "${goaway}" is left for ${there}`, async () => {
    const { tried, dial } = noted();
    await new Ways([ONE, TWO]).open(dial, goaway);
    assert.deepEqual(tried, [there]);
  });
}

test("so many URLs are remembered and no more, however many servers point elsewhere", async () => {
  const { dial } = noted();
  const ways = new Ways(ONE);
  for (const at of range(0, 40)) await ways.open(dial, `https://${at}.example/`);
  assert.equal(ways.urls.length, MAX_URLS);
  assert.equal(ways.urls[0], "https://39.example/");
});

test("where nobody answers, what the first said is told", async () => {
  const { dial } = noted([ONE, TWO]);
  await assert.rejects(new Ways([ONE, TWO]).open(dial), /does not answer/);
});
