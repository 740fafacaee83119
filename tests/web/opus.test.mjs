/** Opus packets by tests/vectors/opus_packets.json, and the Ogg files made of them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { oggOpus, packetDurationUs, packetSamples } from "../../client/web/opus.js";
import { bytesOf, load } from "./vectors.mjs";

const vectors = load("opus_packets.json");

for (const vector of vectors.valid) {
  test(`measures a packet: ${vector.name}`, () => {
    const packet = bytesOf(vector.packet);
    assert.equal(packetSamples(packet), vector.samples);
    assert.equal(packetDurationUs(packet), vector.duration_us);
  });
}

test("a packet without a length is refused", () => {
  for (const hex of ["", "fb", "fb00", "ff3f"]) {
    assert.throws(() => packetSamples(bytesOf(hex)), { name: "MediaError" });
  }
});

test("an Ogg file has its headers, whole pages and the last one marked", () => {
  const { packets } = load("ogg_opus.json");
  const file = Buffer.from(oggOpus(packets.map(({ payload }) => bytesOf(payload))));
  const starts = [];
  for (let at = file.indexOf("OggS"); at >= 0; at = file.indexOf("OggS", at + 1)) starts.push(at);
  assert.deepEqual(starts.map((at) => file[at + 5]), [2, 0, 4]);
  assert.equal(file.readBigInt64LE(starts.at(-1) + 6), 960n * BigInt(packets.length));
});
