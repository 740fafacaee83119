/** Tests that fail in the middle of a call, on purpose: test_vectors.py looks that they end. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { packet, scene } from "./agent_leg.mjs";

test("a call that an agent is on", async () => {
  const { call, leg } = scene();
  const first = await leg(0);
  first.greet();
  call.speak().write(packet(1));
  assert.fail("on purpose");
});

test("a call that nobody answers", async () => {
  const { call } = scene({ refuse: () => true });
  call.speak().write(packet(1));
  assert.fail("on purpose");
});
