/** The moq-lite vectors of tests/vectors/lite.json; the twin of test_lite_vectors.py. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { LocalError, RemoteError, SessionCode } from "../../client/web/errors.js";
import { FrameParser, decodeLegacy, encodeFrameHeader, encodeLegacy } from "../../client/web/frames.js";
import { Framer, MAX_VARINT, concat, decodeVarint, encodeVarint } from "../../client/web/varint.js";
import { ALPNS, versionOf } from "../../client/web/version.js";
import * as wire from "../../client/web/wire.js";
import { bytesOf, camelKeys, hexOf, load } from "./vectors.mjs";

const vectors = load("lite.json");

const PLAIN = {
  ANNOUNCE_REQUEST: wire.AnnounceRequest,
  ANNOUNCE_OK: wire.AnnounceOk,
  ANNOUNCE_BROADCAST: wire.AnnounceBroadcast,
  SUBSCRIBE: wire.Subscribe,
  SUBSCRIBE_UPDATE: wire.SubscribeUpdate,
  TRACK: wire.Track,
  TRACK_INFO: wire.TrackInfo,
  FETCH: wire.Fetch,
  PROBE: wire.Probe,
  GOAWAY: wire.Goaway,
  GROUP: wire.GroupHeader,
  SETUP: wire.Setup,
};
const ANNOUNCING = {
  ANNOUNCE_START: wire.AnnounceStart,
  ANNOUNCE_END: wire.AnnounceEnd,
  ANNOUNCE_UPDATE: wire.AnnounceUpdate,
};
const REPLIES = {
  SUBSCRIBE_OK: wire.SubscribeOk,
  SUBSCRIBE_START: wire.SubscribeStart,
  SUBSCRIBE_END: wire.SubscribeEnd,
  SUBSCRIBE_DROP: wire.SubscribeDrop,
};

const kindsOf = (message, version) =>
  message in ANNOUNCING ? wire.ANNOUNCING : wire.repliesOf(version);

/** Decode a vector's bytes the way its stream does. */
function take({ message, version: alpn, hex }) {
  const version = versionOf(alpn);
  const framer = new Framer(1 << 14);
  framer.feed(bytesOf(hex));
  if (message in PLAIN) return wire.decode(PLAIN[message], framer.message(), version);
  const [kind, fields] = wire.decodeTyped(kindsOf(message, version), framer.typed(), version);
  assert.equal(kind, { ...ANNOUNCING, ...REPLIES }[message]);
  return fields;
}

function give({ message, version: alpn }, fields) {
  const version = versionOf(alpn);
  if (message in PLAIN) return wire.encode(PLAIN[message], fields, version);
  const kind = { ...ANNOUNCING, ...REPLIES }[message];
  return wire.encodeTyped(kindsOf(message, version), kind, fields, version);
}

const nameOf = ({ message, version, hex }) => `${message} ${version} ${hex.slice(0, 12)}`;

for (const vector of vectors.messages) {
  const fields = camelKeys(vector.fields);
  test(`decodes ${nameOf(vector)}`, () => assert.deepEqual(take(vector), fields));
  test(`encodes ${nameOf(vector)}`, () => {
    const encoded = give(vector, fields);
    if (vector.message === "SETUP") {
      // Parameters come in any order.
      assert.deepEqual([...encoded].sort(), [...bytesOf(vector.hex)].sort());
    } else {
      assert.equal(hexOf(encoded), vector.hex);
    }
  });
  if (vector.message in PLAIN) {
    test(`refuses ${nameOf(vector)} with a byte more or less`, () => {
      const framer = new Framer(1 << 14);
      framer.feed(bytesOf(vector.hex));
      const body = framer.message();
      const version = versionOf(vector.version);
      for (const broken of [concat([body, Uint8Array.of(0)]), body.slice(0, -1)]) {
        assert.throws(() => wire.decode(PLAIN[vector.message], broken, version), RemoteError);
      }
    });
  }
}

for (const vector of vectors.refused) {
  test(`refuses ${nameOf(vector)}: ${vector.why}`, () => {
    assert.throws(() => take(vector), { code: SessionCode.PROTOCOL_VIOLATION });
  });
}

for (const vector of vectors.frames) {
  const frames = vector.frames.map(([timestamp, payload]) => ({ timestamp, payload }));
  const version = versionOf(vector.version);
  const read = (parser, parts) =>
    parts
      .flatMap((part) => parser.feed(part))
      .map(({ timestamp, payload }) => ({ timestamp, payload: hexOf(payload) }));
  test(`parses frames ${vector.version} ${vector.hex.slice(0, 8)} in any chunking`, () => {
    const bytes = bytesOf(vector.hex);
    assert.deepEqual(read(new FrameParser(version, 1000), [bytes]), frames);
    const single = [...bytes].map((byte) => Uint8Array.of(byte));
    const parser = new FrameParser(version, 1000);
    assert.deepEqual(read(parser, single), frames);
    assert.equal(parser.buffered, 0);
  });
  test(`writes frames ${vector.version} ${vector.hex.slice(0, 8)}`, () => {
    let previous = version.timestamps ? 0 : null;
    const parts = vector.frames.flatMap(([timestamp, hex]) => {
      const payload = bytesOf(hex);
      const header = encodeFrameHeader(payload.length, timestamp, previous);
      previous = timestamp;
      return [header, payload];
    });
    assert.equal(hexOf(concat(parts)), vector.hex);
  });
}

test("a frame over the limit fails its stream, frames before it are kept", () => {
  const version = versionOf("moq-lite-06");
  const parser = new FrameParser(version, 4);
  const frames = parser.feed(bytesOf("000161" + "000561"));
  assert.equal(frames.length, 1);
  assert.equal(parser.failed, 0x9);
});

test("a timestamp before zero fails its stream", () => {
  const parser = new FrameParser(versionOf("moq-lite-06"), 4);
  assert.deepEqual(parser.feed(bytesOf("0100")), []);
  assert.equal(parser.failed, 0x12);
});

test("varints hold 0 to 2**62 - 1 in 1, 2, 4 or 8 bytes", () => {
  const rows = [
    [0, "00"], [63, "3f"], [64, "4040"], [16383, "7fff"], [16384, "80004000"],
    [2 ** 30 - 1, "bfffffff"], [2 ** 30, "c000000040000000"],
    [Number.MAX_SAFE_INTEGER, "c01fffffffffffff"],
    [BigInt(Number.MAX_SAFE_INTEGER) + 1n, "c020000000000000"],
    [MAX_VARINT, "ffffffffffffffff"],
  ];
  for (const [value, hex] of rows) {
    assert.equal(hexOf(encodeVarint(value)), hex);
    assert.deepEqual(decodeVarint(bytesOf(hex)), [value, hex.length / 2]);
    assert.equal(decodeVarint(bytesOf(hex.slice(0, -2))), null);
  }
  for (const bad of [-1, MAX_VARINT + 1n, 1.5, NaN, undefined]) {
    assert.throws(() => encodeVarint(bad), LocalError);
  }
});

test("all versions are offered, the newest first", () => {
  assert.deepEqual(ALPNS, ["moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03"]);
});

const legacy = load("legacy_frames.json");
for (const vector of legacy.frames) {
  test(`reads a legacy frame: ${vector.name}`, () => {
    const { timestampUs, packet } = decodeLegacy(bytesOf(vector.frame));
    assert.equal(BigInt(timestampUs), BigInt(vector.timestamp_us));
    assert.equal(hexOf(packet), vector.payload);
    if (vector.canonical !== false) {
      assert.equal(hexOf(encodeLegacy(timestampUs, packet)), vector.frame);
    }
  });
}
for (const vector of legacy.invalid) {
  test(`refuses a legacy frame: ${vector.name}`, () => {
    assert.throws(() => decodeLegacy(bytesOf(vector.frame)), { name: "MediaError" });
  });
}
