/** The scripts of tests/vectors/playout.json; the twin of test_playout_vectors.py. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Playout } from "../../client/web/playout.js";
import { policyOf } from "../../client/web/decision.js";
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
