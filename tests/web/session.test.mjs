/** Sessions of every version against each other, on a transport in memory. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Broadcast, Origin, suffixOf } from "../../client/web/broadcast.js";
import { StreamCode } from "../../client/web/errors.js";
import { Session } from "../../client/web/session.js";
import { VERSIONS } from "../../client/web/version.js";
import { pair } from "./memory_transport.mjs";

const text = (payload) => new TextDecoder().decode(payload);
const bytes = (value) => new TextEncoder().encode(value);
const WISHES = { priority: 80, ordered: true, maxAgeMs: 600_000 };

function sessions(version, origins = {}, options) {
  const [near, far] = pair(options);
  const caller = new Session(near, version, origins.caller ?? new Origin(), { originId: 7 });
  const agent = new Session(far, version, origins.agent ?? new Origin(), { originId: 9 });
  caller.start();
  agent.start();
  return { caller, agent };
}

function published(path, name = "audio") {
  const origin = new Origin();
  const broadcast = new Broadcast();
  const track = broadcast.createTrack(name, { priority: 80, ordered: true, maxAgeMs: 600_000 });
  origin.publish(path, broadcast);
  return { origin, track };
}

async function first(iterable) {
  for await (const item of iterable) return item;
  return undefined;
}

async function all(group) {
  const frames = [];
  for await (const { payload, timestamp } of group) frames.push([text(payload), timestamp]);
  return frames;
}

for (const version of VERSIONS) {
  const stamp = (us) => (version.timestamps ? us : null);

  test(`${version.alpn}: a track crosses whole, frame by frame, whatever the chunks`, async () => {
    for (const chunkBytes of [1, 5, 1 << 16]) {
      const { origin, track } = published("x/caller");
      const group = track.append();
      group.write(bytes("early"), 20_000);
      const { agent } = sessions(version, { caller: origin }, { chunkBytes });
      const found = await first(agent.announced());
      assert.deepEqual(found, { path: "x/caller", active: true });
      const subscription = agent.subscribe("x/caller", "audio", WISHES);
      await subscription.accepted;
      const reading = first(subscription).then(async (received) => {
        assert.equal(received.sequence, 0);
        return all(received);
      });
      group.write(bytes("late"), 10_000);
      group.finish();
      assert.deepEqual(await reading, [["early", stamp(20_000)], ["late", stamp(10_000)]]);
      agent.close();
    }
  });

  test(`${version.alpn}: what is announced later or withdrawn is told`, async () => {
    const origin = new Origin();
    const { agent } = sessions(version, { caller: origin });
    const heard = [];
    const watching = (async () => {
      for await (const news of agent.announced()) {
        heard.push([news.path, news.active]);
        if (heard.length === 3) break;
      }
    })();
    await new Promise((resolve) => setTimeout(resolve, 5));
    origin.publish("a", new Broadcast());
    await new Promise((resolve) => setTimeout(resolve, 5));
    origin.publish("b", new Broadcast());
    origin.publish("hidden", new Broadcast(), { hidden: true });
    await new Promise((resolve) => setTimeout(resolve, 5));
    origin.withdraw("a");
    await watching;
    assert.deepEqual(heard, [["a", true], ["b", true], ["a", false]]);
    agent.close();
  });

  test(`${version.alpn}: an unknown track is refused as not found`, async () => {
    const { agent } = sessions(version, { caller: published("x").origin });
    await assert.rejects(agent.subscribe("x", "video").accepted, { code: StreamCode.NOT_FOUND });
    await assert.rejects(agent.subscribe("y", "audio").accepted, { code: StreamCode.NOT_FOUND });
    agent.close();
  });

  test(`${version.alpn}: a group given up reaches the listener as such`, async () => {
    const { origin, track } = published("x");
    const group = track.append();
    group.write(bytes("some"), 0);
    const { agent } = sessions(version, { caller: origin });
    const received = await first(agent.subscribe("x", "audio", WISHES));
    const reading = all(received);
    setTimeout(() => group.abort(), 5);
    await assert.rejects(reading, { name: "StreamEnded", code: StreamCode.CANCELLED });
    agent.close();
  });

  test(`${version.alpn}: a track that ends ends the subscription`, async () => {
    const { origin, track } = published("x");
    track.append().finish();
    track.end();
    const { agent } = sessions(version, { caller: origin });
    const subscription = agent.subscribe("x", "audio", WISHES);
    await subscription.accepted;
    const received = await first(subscription);
    assert.deepEqual(await all(received), []);
    agent.close();
  });

  test(`${version.alpn}: a session that is lost ends everything on it`, async () => {
    const { origin, track } = published("x");
    track.append().write(bytes("a"), 0);
    const { caller, agent } = sessions(version, { caller: origin });
    const subscription = agent.subscribe("x", "audio", WISHES);
    const received = await first(subscription);
    const reading = all(received);
    caller.close(0, "gone");
    await assert.rejects(reading, { name: "StreamEnded", code: StreamCode.SESSION_CLOSED });
    assert.equal((await agent.closed).reason, "gone");
  });
}

test("a listener that stops a group lets the track go on", async () => {
  const { origin, track } = published("x");
  const unwanted = track.append();
  unwanted.write(bytes("a"), 0);
  const { agent } = sessions(VERSIONS[0], { caller: origin });
  const groups = agent.subscribe("x", "audio", WISHES)[Symbol.asyncIterator]();
  (await groups.next()).value.stop();
  unwanted.write(bytes("b"), 1);
  track.append().finish();
  assert.equal((await groups.next()).value.sequence, 1);
  agent.close();
});

test("only groups wanted by age, number and latest are sent", () => {
  let now = 0;
  const broadcast = new Broadcast();
  const track = broadcast.createTrack("audio", {}, { now: () => now });
  assert.equal(track.firstWanted({ maxAgeMs: 600_000 }), 0);
  for (now of [0, 1_000, 2_000]) track.append();
  assert.equal(track.firstWanted({}), 2);
  assert.equal(track.firstWanted({ maxAgeMs: 1_000 }), 1);
  assert.equal(track.firstWanted({ maxAgeMs: 600_000 }), 0);
  assert.equal(track.firstWanted({ maxAgeMs: 600_000, groupStart: 2 }), 2);
  assert.equal(track.firstWanted({ groupStart: 1 }), 1);
});

test("a track keeps what is not settled, and only so much", () => {
  const track = new Broadcast().createTrack("audio", {}, {
    now: () => 0, keep: { groups: 3, bytes: 1_000, ageMs: 10 },
  });
  const groups = Array.from({ length: 3 }, () => track.append());
  for (const group of groups) group.finish();
  groups[1].settle();
  track.append();
  assert.deepEqual(track.since(0).map(({ sequence }) => sequence), [0, 2, 3]);
  assert.throws(() => track.create(2), { name: "LocalError" });
  assert.equal(track.create(7).sequence, 7);
  assert.equal(track.next, 8);
});

test("prefixes match by segment", () => {
  assert.equal(suffixOf("", "a/b"), "a/b");
  assert.equal(suffixOf("a", "a/b"), "b");
  assert.equal(suffixOf("a", "ab"), null);
  assert.equal(suffixOf("a/b", "a/b"), "");
});
