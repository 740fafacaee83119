/**
 * How much audio to hold before playing, and when to run faster or slower; with what may be
 * held in all. Ported rule by rule from moqvox/media/{lead,pace,room}.py, which explain them.
 */

import { samplesToUs, usToSamples } from "./decision.js";

const PPM = 1_000_000;

/** Measures how unevenly audio arrives and names the lead that would have covered it. */
export class Lead {
  #policy;
  #spreadUs = 0;
  #spreadAtUs = 0;

  constructor(policy) {
    this.#policy = policy;
  }

  /** Note an arrival; returns the item's new floor, `[delay, when]`. */
  arrived(floor, positionUs, nowUs) {
    const delayUs = nowUs - positionUs;
    if (floor === null) return [delayUs, nowUs];
    const elapsedUs = Math.max(0, nowUs - floor[1]);
    const riseUs = Math.floor((elapsedUs * this.#policy.floorRisePpm) / PPM);
    const aboveUs = delayUs - floor[0] - riseUs;
    if (aboveUs <= 0) return [delayUs, nowUs];
    if (aboveUs >= this.spreadUs(nowUs)) {
      this.#spreadUs = aboveUs;
      this.#spreadAtUs = nowUs;
    }
    return floor;
  }

  spreadUs(nowUs) {
    const elapsedUs = Math.max(0, nowUs - this.#spreadAtUs);
    return Math.max(0, this.#spreadUs - Math.floor((elapsedUs * this.#policy.spreadFallPpm) / PPM));
  }

  targetUs(nowUs) {
    const { targetMinUs, targetMaxUs } = this.#policy;
    return Math.min(Math.max(this.spreadUs(nowUs), targetMinUs), targetMaxUs);
  }
}

/** Decides the direction of time-stretch and saves up the samples it may move. */
export class Pace {
  direction = 0;
  #policy;
  #earnedPpm = 0;
  #earnedFor = 0;
  #excessSamples = 0;

  constructor(policy) {
    this.#policy = policy;
  }

  /** How many samples may be left out (> 0) or repeated (< 0) now. */
  get room() {
    return this.direction * Math.floor(this.#earnedPpm / PPM) || 0;
  }

  update(timeline, samples, targetUs, paused) {
    if (timeline === null || !timeline.playing) {
      this.stop();
      return;
    }
    if (paused || !this.#policy.stretchPpm) {
      this.direction = 0;
      return;
    }
    const rate = this.#policy.sampleRate;
    const leadUs = samplesToUs(timeline.leadSamples, rate);
    const leftUs = samplesToUs(timeline.leadSamples - samples, rate);
    this.direction = this.#choose(timeline, leadUs, leftUs, targetUs);
    if (this.direction && this.direction !== this.#earnedFor) {
      this.#earnedPpm = 0;
      this.#earnedFor = this.direction;
    }
  }

  stop() {
    this.direction = 0;
    this.#excessSamples = 0;
  }

  played(samples) {
    this.#excessSamples += samples;
    if (this.direction) {
      const cap = usToSamples(this.#policy.spliceMaxUs, this.#policy.sampleRate) * PPM;
      this.#earnedPpm = Math.min(cap, this.#earnedPpm + samples * this.#policy.stretchPpm);
    }
  }

  spend(samples) {
    this.#earnedPpm -= samples * PPM;
  }

  #choose(timeline, leadUs, leftUs, targetUs) {
    const startUs = this.direction === 1 ? targetUs : targetUs + Math.floor(targetUs / 2);
    if (leadUs <= startUs) this.#excessSamples = 0;
    else if (this.#mayCatchUp(timeline)) return 1;
    const lowUs = Math.floor(targetUs / (this.direction === -1 ? 2 : 3));
    return leftUs < lowUs && !timeline.fin ? -1 : 0;
  }

  #mayCatchUp(timeline) {
    const { catchUp, catchUpAfterUs, sampleRate } = this.#policy;
    if (catchUp === "never") return false;
    if (timeline.debtSamples) return true;
    if (catchUp === "rebuffered") return false;
    return this.direction === 1 || this.#excessSamples >= usToSamples(catchUpAfterUs, sampleRate);
  }
}

/** Whether `timeline` may grow to `lead` samples by a frame of `costBytes`. */
export function fits(policy, items, current, timeline, lead, costBytes) {
  const others = [...items].filter((each) => each !== timeline);
  const sum = (timelines, measure) => timelines.reduce((all, each) => all + measure(each), 0);
  const within = (limit, own, measure) => {
    const used = own + sum(others, measure);
    if (timeline === current) {
      const half = Math.floor(limit / 2);
      return used <= limit || (own <= half && used <= limit + half);
    }
    const behind = sum(others.filter((each) => each !== current), measure);
    return own + behind <= Math.floor(limit / 2) && used <= limit;
  };
  const leadMax = usToSamples(policy.leadMaxUs, policy.sampleRate);
  const held = timeline.heldBytes + costBytes;
  return (
    within(leadMax, lead, (each) => each.leadSamples) &&
    within(policy.bytesMax, held, (each) => each.heldBytes)
  );
}
