/**
 * Make speech a little shorter or longer without changing its pitch, and join sounds that do
 * not follow from each other without a click. Ported from moqvox/media/{stretch,edge}.py,
 * which explain the method. Samples are Float32, mono.
 */

import { usToSamples } from "./decision.js";

const SHORTEST_US = 2_500;
const OVERLAP_US = 5_000;
const JOIN_US = 5_000;
/** Normalised correlation below which a cut would be heard, and waits for a better place. */
const ALIKE = 0.7;
const NEARLY_BEST = 0.95;
/** Root mean square below which any place fits. */
const QUIET = 30 / 32_767;

const NONE = new Float32Array(0);

function joined(...parts) {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Go from one sound to another, in place in `coming`, from step `start` of `total`. */
function crossFade(leaving, coming, count, start, total) {
  for (let at = 0; at < count; at++) {
    const weight = (start + at + 0.5) / total;
    coming[at] = leaving[at] * (1 - weight) + coming[at] * weight;
  }
}

/** Takes speech in, gives it out a little shorter or longer. */
export class Stretch {
  /** The most samples that one cut takes. */
  longest;
  #shortest;
  #overlap;
  #history = NONE;
  #leaving = NONE;
  #left = 0;
  #repeat = NONE;

  constructor(sampleRate, longestUs) {
    this.#shortest = usToSamples(SHORTEST_US, sampleRate);
    this.#overlap = usToSamples(OVERLAP_US, sampleRate);
    this.longest = usToSamples(longestUs, sampleRate);
  }

  /** How many samples ahead `choose` and the cuts look at. */
  get reach() {
    return this.longest + this.#overlap;
  }

  /** The best cut here: samples to leave out (> 0), to repeat (< 0), or 0 for none. */
  choose(ahead, room) {
    if (this.#left < this.#leaving.length || !room || ahead.length < this.#overlap) return 0;
    const overlap = ahead.subarray(0, this.#overlap);
    if (room > 0) {
      const longest = Math.min(room, this.longest, ahead.length - this.#overlap);
      return this.#best(overlap, ahead.subarray(0, longest + this.#overlap), longest, 1);
    }
    const longest = Math.min(-room, this.longest, this.#history.length);
    const track = joined(this.#history.subarray(this.#history.length - longest), overlap);
    return -this.#best(overlap, track, longest, -1) || 0;
  }

  /** Leave out the next samples: what is played next fades in over what is here. */
  remove(ahead) {
    this.#leaving = ahead.slice(0, this.#overlap);
    this.#left = 0;
  }

  /** Prepare to play the last `samples` again; `repeated` returns them. */
  repeat(ahead, samples) {
    const again = this.#history.slice(this.#history.length - samples);
    const count = Math.min(this.#overlap, samples, ahead.length);
    crossFade(ahead, again, count, 0, count);
    this.#repeat = again;
  }

  /** Take the next `samples` of what `repeat` prepared. */
  repeated(samples) {
    const pcm = this.#repeat.subarray(0, samples);
    this.#repeat = this.#repeat.subarray(samples);
    this.#remember(pcm);
    return pcm;
  }

  /** Pass source samples through, finishing the cross-fade of a cut. */
  play(pcm) {
    const total = this.#leaving.length;
    const count = Math.min(total - this.#left, pcm.length);
    if (count > 0) {
      pcm = pcm.slice();
      crossFade(this.#leaving.subarray(this.#left), pcm, count, this.#left, total);
      this.#left += count;
    }
    this.#remember(pcm);
    return pcm;
  }

  /** Note a break: nothing before it is like what follows. */
  forget() {
    this.#history = this.#leaving = this.#repeat = NONE;
    this.#left = 0;
  }

  #remember(pcm) {
    const recent = joined(this.#history, pcm.subarray(Math.max(0, pcm.length - this.longest)));
    this.#history = recent.subarray(Math.max(0, recent.length - this.longest));
  }

  /** The lag at which `track` is most like `here`; of the nearly best the longest. */
  #best(here, track, longest, sign) {
    if (longest < this.#shortest) return 0;
    const lags = track.length - here.length + 1;
    const scores = new Float64Array(lags - this.#shortest);
    const energy = energyOf(here);
    let loudest = energy;
    for (let at = 0; at < scores.length; at++) {
      const lag = at + this.#shortest;
      const start = sign > 0 ? lag : lags - 1 - lag;
      const other = track.subarray(start, start + here.length);
      const theirs = energyOf(other);
      loudest = Math.max(loudest, theirs);
      let product = 0;
      for (let step = 0; step < here.length; step++) product += here[step] * other[step];
      scores[at] = product / Math.sqrt(Math.max(theirs * energy, 1e-12));
    }
    if (loudest <= here.length * QUIET ** 2) return longest;
    return this.#longestGood(scores);
  }

  #longestGood(scores) {
    const best = Math.max(...scores);
    if (best < ALIKE) return 0;
    // A best at either end is the slope of a period that lies outside.
    for (let at = scores.length - 2; at >= 1; at--) {
      const peak = scores[at] >= scores[at - 1] && scores[at] >= scores[at + 1];
      if (peak && scores[at] >= best * NEARLY_BEST) return this.#shortest + at;
    }
    return 0;
  }
}

function energyOf(pcm) {
  let energy = 0;
  for (const sample of pcm) energy += sample * sample;
  return energy;
}

/** Passes output through; after a `cut` the last value glides into what follows. */
export class Edge {
  #total;
  #last = 0;
  #held = 0;
  #left = 0;

  constructor(sampleRate) {
    this.#total = usToSamples(JOIN_US, sampleRate);
  }

  /** Note that the next output does not follow from the last. */
  cut() {
    this.#held = this.#last;
    this.#left = this.#total;
  }

  /** Change output in place, within 5 ms of a cut only. */
  join(pcm) {
    const count = Math.min(this.#left, pcm.length);
    for (let at = 0; at < count; at++) {
      const weight = (this.#total - this.#left + at + 0.5) / this.#total;
      pcm[at] = this.#held * (1 - weight) + pcm[at] * weight;
    }
    this.#left -= count;
    if (pcm.length) this.#last = pcm[pcm.length - 1];
  }
}
