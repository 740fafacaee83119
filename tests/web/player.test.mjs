/** What is put out: the frames that were pushed, sample for sample, and no click at a cut. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Player } from "../../client/web/player.js";
import { Stretch } from "../../client/web/stretch.js";

const RATE = 48_000;
const FRAME = 960;
const QUANTUM = 128;

const tone = (hertz, samples, from = 0) =>
  Float32Array.from({ length: samples }, (_, at) =>
    0.5 * Math.sin((2 * Math.PI * hertz * (from + at)) / RATE));

function pushTone(player, item, frames, { from = 0, nowUs = 0, startUs = 0 } = {}) {
  for (let at = from; at < from + frames; at++) {
    const pushed = player.push(item, startUs + at * 20_000, tone(440, FRAME, at * FRAME), nowUs);
    assert.equal(pushed.outcome, "accepted");
  }
}

/** Render in the worklet's quanta. */
function render(player, samples, clock) {
  const output = new Float32Array(samples);
  const decisions = [];
  for (let at = 0; at < samples; at += QUANTUM) {
    const nowUs = Math.round((clock.samples / RATE) * 1e6);
    decisions.push(...player.render(output.subarray(at, at + QUANTUM), nowUs));
    clock.samples += QUANTUM;
  }
  return { output, decisions };
}

/** The steepest step between two samples. */
function steepest(pcm) {
  let most = 0;
  for (let at = 1; at < pcm.length; at++) most = Math.max(most, Math.abs(pcm[at] - pcm[at - 1]));
  return most;
}

test("what was pushed is put out sample for sample", () => {
  const player = new Player({});
  const clock = { samples: 0 };
  player.open(0);
  pushTone(player, 0, 50);
  player.end(0);
  const { output, decisions } = render(player, 51 * FRAME + 3 * QUANTUM, clock);
  const start = output.findIndex((sample) => sample !== 0) - 1;
  const expected = tone(440, 50 * FRAME);
  assert.deepEqual(output.slice(start, start + expected.length), expected);
  const ended = decisions.find(({ kind }) => kind === "ended");
  assert.equal(ended.how, "played");
  assert.equal(ended.totals.heardSamples, 50 * FRAME);
});

test("a barge-in is silent after a fade of 20 ms, without a click", () => {
  const player = new Player({});
  const clock = { samples: 0 };
  pushTone(player, 0, 100);
  render(player, 40 * QUANTUM, clock);
  const [ended] = player.flush();
  const { output } = render(player, 40 * QUANTUM, clock);
  assert.equal(ended.totals.heardSamples, 40 * QUANTUM + FRAME);
  assert.ok(output.subarray(0, FRAME / 2).some((sample) => Math.abs(sample) > 0.1));
  assert.ok(output.subarray(FRAME).every((sample) => sample === 0));
  assert.ok(steepest(output) < 0.05, `a step of ${steepest(output)}`);
  assert.equal(player.push(0, 0, tone(440, FRAME), 0).outcome, "stale");
});

test("after running dry it goes on without a click, and wins the delay back", () => {
  const player = new Player({});
  const clock = { samples: 0 };
  pushTone(player, 0, 10);
  const first = render(player, 80 * QUANTUM, clock).output;
  pushTone(player, 0, 300, { from: 10, nowUs: Math.round((clock.samples / RATE) * 1e6) });
  player.end(0);
  const { output, decisions } = render(player, 320 * FRAME + 64 * QUANTUM, clock);
  assert.ok(steepest(first) < 0.06 && steepest(output) < 0.06);
  assert.ok(decisions.some(({ kind }) => kind === "remove"), "no delay was won back");
  const { totals } = decisions.find(({ kind }) => kind === "ended");
  assert.equal(totals.underruns, 1);
  assert.equal(totals.heardSamples, 310 * FRAME);
});

test("nothing stays held of what was played or cut", () => {
  const player = new Player({});
  const clock = { samples: 0 };
  for (let item = 0; item < 5; item++) {
    pushTone(player, item, 20);
    player.end(item);
  }
  render(player, 110 * FRAME, clock);
  pushTone(player, 7, 20);
  player.flush();
  assert.equal(player.stats(0).heldBytes, 0);
  assert.equal(player.stats(0).items, 0);
});

test("a cut takes whole periods of a voice, and none where nothing is alike", () => {
  const stretch = new Stretch(RATE, 15_000);
  const voice = tone(200, stretch.reach);
  const cut = stretch.choose(voice, stretch.longest);
  assert.ok(cut > 0 && Math.abs(cut - Math.round(cut / 240) * 240) <= 1, `cut ${cut}`);
  let seed = 1;
  const noise = Float32Array.from({ length: stretch.reach }, () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647 - 0.5;
  });
  assert.equal(stretch.choose(noise, stretch.longest), 0);
  assert.equal(stretch.choose(new Float32Array(stretch.reach), stretch.longest), stretch.longest);
});
