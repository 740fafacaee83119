/** The parts of the browser's audio that need no browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { VoiceGate, missing } from "../../client/web/audio.js";
import { Framer } from "../../client/web/microphone.js";
import { hashBytes, addressOf } from "../../client/web/dial.js";
import { wordAt } from "../../client/web/captions.js";
import { badgeOf, momentsOf } from "../../client/web/turns.js";

const frames = (level, count) => new Array(count).fill(level);

function listen(gate, levels) {
  const news = [];
  levels.forEach((level, at) => {
    const said = gate.take(level);
    if (said) news.push([said, at]);
  });
  return news;
}

test("a sentence begins within 60 ms and ends after the pause that ends it", () => {
  const news = listen(new VoiceGate(), [
    ...frames(0.002, 100), ...frames(0.1, 50), ...frames(0.002, 20), ...frames(0.1, 20),
    ...frames(0.002, 100),
  ]);
  assert.deepEqual(news, [["begin", 102], ["end", 189 + 45]]);
});

test("a loud room is not taken for a voice, a voice in it is", () => {
  const gate = new VoiceGate();
  const hum = listen(gate, frames(0.03, 3_000)).filter(([, at]) => at > 1_500);
  assert.deepEqual(hum, []);
  assert.equal(listen(gate, frames(0.3, 10))[0]?.[0], "begin");
});

test("a noise that never pauses ends, and becomes the room", () => {
  const [begin, end] = listen(new VoiceGate(), [...frames(0.002, 50), ...frames(0.2, 3_000)]);
  assert.deepEqual([begin[0], end[0]], ["begin", "end"]);
  assert.ok(end[1] < 2_000);
});

test("a click is no sentence", () => {
  assert.deepEqual(listen(new VoiceGate(), [...frames(0.002, 50), 0.5, 0.5, ...frames(0.002, 50)]), []);
});

test("frames are the same however the microphone's sound is cut", () => {
  const sound = Float32Array.from({ length: 2_000 }, (_, at) => at);
  for (const size of [1, 128, 441, 882, 1_024, 2_000]) {
    const got = [];
    const framer = new Framer(882, (frame) => got.push(frame));
    for (let at = 0; at < sound.length; at += size) framer.push(sound.subarray(at, at + size));
    assert.deepEqual(got, [sound.slice(0, 882), sound.slice(882, 1_764)]);
  }
});

test("what is missing is named", () => {
  assert.ok(missing().includes("AudioWorklet"));
});

test("a fingerprint is 64 digits, with or without colons; anything else is refused", () => {
  const hex = "ab".repeat(32);
  assert.deepEqual(hashBytes(hex), new Uint8Array(32).fill(0xab));
  assert.deepEqual(hashBytes(hex.match(/../g).join(":")), new Uint8Array(32).fill(0xab));
  assert.throws(() => hashBytes("ab"), { what: "certificate" });
});

test("the token travels as relays want it", () => {
  assert.equal(addressOf("https://a:1/room?x=1#y", "t.k"), "https://a:1/room?x=1&jwt=t.k");
  assert.equal(addressOf("https://a:1/", ""), "https://a:1/");
});

test("the word now sounding is the last that has begun", () => {
  const captions = [{ start_us: 0 }, { start_us: 300_000 }, { start_us: 600_000 }];
  assert.deepEqual([-1, 0, 299_999, 300_000, 9e9].map((us) => wordAt(captions, us)), [-1, 0, 0, 1, 2]);
});

test("a badge tells what is known", () => {
  const speech = { cancelled: false, intact: null, durationUs: 1_500_000, finished: false };
  assert.equal(badgeOf(null), null);
  assert.deepEqual(badgeOf(speech), { text: "1.5 s", kind: "wait" });
  assert.equal(badgeOf({ ...speech, finished: true }).text, "1.5 s · awaiting receipt");
  const receipt = { added_delay_ms: 17.6 };
  assert.deepEqual(badgeOf({ ...speech, intact: true, receipt }), { text: "intact · +18 ms", kind: "good" });
  assert.equal(badgeOf({ ...speech, intact: false, receipt }).kind, "bad");
});

test("moments are told only once they happened, and from the last word on", () => {
  const speech = { beganMs: 1_000, firstAckMs: 1_030, finishedMs: null, receiptMs: null };
  const turn = { speech, responses: [], beganMs: 1_000, transcriptMs: null };
  assert.deepEqual(momentsOf(turn).map(({ name, ms }) => [name, ms]), [["first word acknowledged", 30]]);
  speech.finishedMs = 3_000;
  turn.transcriptMs = 3_200;
  turn.responses.push({ beganMs: 3_100, soundedMs: 3_250, heard: { state: "ended", heardUs: 500_000 } });
  assert.deepEqual(momentsOf(turn).slice(1).map(({ ms }) => ms), [2_000, 200, 100, 250, 750]);
});
