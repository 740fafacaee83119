/** The QMux vectors of tests/vectors/qmux.json; the twin of test_frames.py. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { RemoteError } from "../../client/web/errors.js";
import {
  Violation, decodeRecord, encodeFrame, parseSubprotocol, subprotocols,
} from "../../client/web/qmux.js";
import { concat } from "../../client/web/varint.js";
import { bytesOf, camelKeys, hexOf, load } from "./vectors.mjs";

const vectors = load("qmux.json");
const ZERO = decodeRecord(bytesOf("ff5153300d0a0d0a00"))[0].parameters;

/** A frame as the vectors write it, in the form the code has it. */
function frameOf(fields) {
  const frame = camelKeys(fields);
  if (frame.data !== undefined) frame.data = bytesOf(frame.data);
  if (frame.parameters) frame.parameters = { ...ZERO, ...frame.parameters };
  return frame;
}

for (const { name, bytes, frames, canonical } of vectors.records) {
  test(`${name} is read as what it says`, () => {
    assert.deepEqual(decodeRecord(bytesOf(bytes)), frames.map(frameOf));
  });
  if (!canonical) continue;
  test(`${name} is written to the same bytes`, () => {
    assert.equal(hexOf(concat(frames.map((frame) => encodeFrame(frameOf(frame))))), bytes);
  });
}

for (const { name, bytes, code } of vectors.refused) {
  test(`${name} is refused`, () => {
    assert.throws(() => decodeRecord(bytesOf(bytes)), (error) => {
      assert.ok(error instanceof RemoteError, String(error));
      if (code !== null) {
        assert.ok(error instanceof Violation);
        assert.equal(error.transportCode, code);
      }
      return true;
    });
  });
}

test("the application protocol matters more than the version of QMux below it", () => {
  assert.deepEqual(subprotocols(["a", "b"]), [
    "qmux-02.a", "qmux-01.a", "qmux-00.a", "qmux-02.b", "qmux-01.b", "qmux-00.b",
  ]);
  const [version, protocol] = parseSubprotocol("qmux-01.moq-lite-05");
  assert.deepEqual([version.name, protocol], ["qmux-01", "moq-lite-05"]);
  assert.throws(() => parseSubprotocol("webtransport"), RangeError);
});
