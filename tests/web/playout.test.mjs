/** The scripts of tests/vectors/playout.json; the twin of test_playout_vectors.py. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Playout } from "../../client/web/playout.js";
import { policyOf, rescale } from "../../client/web/decision.js";
import { Pace } from "../../client/web/lead.js";
import { camelKeys, load } from "./vectors.mjs";

const vectors = load("playout.json");

/** Fields for which 0 says something that null does not. */
const NULLABLE = new Set(["index", "item", "heardTimestampUs"]);

/** Leave out what has its default, so that both ways of writing it compare equal. */
function bare(value) {
  if (Array.isArray(value)) return value.map(bare);
  if (value === null || typeof value !== "object") return value ?? null;
  const kept = Object.entries(value).filter(
    ([key, inner]) =>
      inner !== null && inner !== undefined && inner !== false &&
      !(Object.is(Math.abs(inner), 0) && !NULLABLE.has(key)),
  );
  return Object.fromEntries(kept.map(([key, inner]) => [key, bare(inner)]));
}

const VERBS = {
  push: (playout, { item, timestampUs, samples, atUs, sizeBytes }) =>
    playout.push(item, timestampUs, samples, atUs, sizeBytes),
  pull: (playout, { samples, atUs, stretch }) => playout.pull(samples, atUs, stretch),
  open: (playout, { item }) => playout.open(item),
  end: (playout, { item }) => playout.end(item),
  reset: (playout, { item, fadeUs }) => playout.reset(item, fadeUs),
  flush: (playout, { fadeUs, through }) => playout.flush(fadeUs, through),
  pause: (playout, { fadeUs }) => playout.pause(fadeUs),
  resume: (playout) => playout.resume(),
  totals: (playout, { item }) => playout.totals(item),
  room: (playout) => playout.stretchRoom,
  stats: (playout, { atUs }) => playout.stats(atUs),
};

for (const vector of vectors) {
  test(vector.name, () => {
    const playout = new Playout(camelKeys(vector.policy));
    vector.steps.forEach((written, number) => {
      const { do: verb, expect, ...args } = camelKeys(written);
      const came = VERBS[verb](playout, args);
      const where = `step ${number}: ${JSON.stringify(written)}`;
      assert.deepEqual(bare(came), bare(expect ?? null), where);
    });
  });
}

test("every scenario is run", () => assert.ok(vectors.length >= 75));

test("rules that contradict each other are refused", () => {
  for (const broken of [
    { sampleRate: 0 }, { targetMinUs: 9, targetMaxUs: 8 }, { late: "never" }, { sampelRate: 1 },
    { stretchPpm: 1.5 }, { itemsMax: 0 },
  ]) {
    assert.throws(() => policyOf(broken), { name: "LocalError" });
  }
});

test("times go to the nearest sample, a tie goes up", () => {
  const rows = [[1, 2, 1, 1], [-1, 2, 1, 0], [3, 2, 1, 2], [-3, 2, 1, -1], [1, 3, 1, 0], [2, 3, 1, 1]];
  for (const [value, from, to, expected] of rows) {
    assert.ok(Math.abs(rescale(value, from, to) - expected) === 0, `${value} of ${from} to ${to}`);
  }
});

test("playback slows down below a third of the target, until half of it", () => {
  const pace = new Pace(policyOf({ sampleRate: 1_000 }));
  const after = (leadSamples) => {
    pace.update({ playing: true, fin: false, debtSamples: 0, leadSamples }, 10, 90_000, false);
    return pace.direction;
  };
  assert.deepEqual([40, 39, 54, 55, 40].map(after), [0, -1, -1, 0, 0]);
});
