/**
 * What playout decides, and by which rules. Names and meaning of every field are those of
 * moqvox/media/decision.py, which describes them; times are microseconds, samples are per
 * channel, all are integers.
 */

import { LocalError } from "./errors.js";

/** Counted for each frame held, beside its payload. */
export const FRAME_OVERHEAD_BYTES = 128;

/** What became of a frame that was pushed. */
export const Outcome = Object.freeze({
  ACCEPTED: "accepted",
  DUPLICATE: "duplicate",
  LATE: "late",
  STALE: "stale",
  FULL: "full",
  INVALID: "invalid",
});

const DEFAULTS = Object.freeze({
  sampleRate: 48_000,
  targetMinUs: 60_000,
  targetMaxUs: 500_000,
  startDeadlineUs: 500_000,
  resumeUs: 20_000,
  relapsesBorne: 3,
  spreadFallPpm: 20_000,
  floorRisePpm: 10_000,
  late: "wait",
  skipOverUs: 500_000,
  catchUp: "rebuffered",
  stretchPpm: 60_000,
  spliceMaxUs: 15_000,
  catchUpAfterUs: 1_000_000,
  gapMaxUs: 5_000_000,
  snapUs: 5_000,
  leadMaxUs: 300_000_000,
  bytesMax: 8 << 20,
  itemsMax: 32,
});

const CHOICES = { late: ["wait", "skip"], catchUp: ["never", "rebuffered", "live"] };

/** The rules of one playout, completed and checked; throws LocalError. */
export function policyOf(wanted = {}) {
  const policy = { ...DEFAULTS, ...wanted };
  const ranges = {
    sampleRate: [1_000, 192_000],
    targetMaxUs: [policy.targetMinUs, 60_000_000],
    stretchPpm: [0, 100_000],
    spreadFallPpm: [0, 100_000],
    floorRisePpm: [0, 100_000],
    spliceMaxUs: [1_000, 100_000],
    itemsMax: [1, 1_024],
    relapsesBorne: [0, 1_000],
    leadMaxUs: [4_000_000, 3_600_000_000],
    bytesMax: [4_096, 2 ** 40],
    gapMaxUs: [0, Math.floor(policy.leadMaxUs / 2) - 1_000_000],
  };
  for (const [name, value] of Object.entries(policy)) {
    if (!(name in DEFAULTS)) throw new LocalError(`a playout policy has no ${name}`);
    const choices = CHOICES[name];
    if (choices && !choices.includes(value)) {
      throw new LocalError(`${name} is ${value}, allowed: ${choices.join(", ")}`);
    }
    const [low, high] = ranges[name] ?? [0, Number.MAX_SAFE_INTEGER];
    if (!choices && (!Number.isInteger(value) || value < low || value > high)) {
      throw new LocalError(`${name} is ${value}, allowed ${low} to ${high}`);
    }
  }
  return Object.freeze(policy);
}

/** Convert between timescales: to the nearest, a tie goes up. */
export function rescale(value, from, to) {
  return Math.floor((2 * value * to + from) / (2 * from));
}

/** Samples to microseconds, rounded as moqvox/media does. */
export const samplesToUs = (samples, rate) => rescale(samples, rate, 1_000_000);

/** Microseconds to samples, rounded as moqvox/media does. */
export const usToSamples = (us, rate) => rescale(us, 1_000_000, rate);
