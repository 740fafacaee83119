/**
 * Decide what sounds at every sample: timestamped audio in, a list of decisions out.
 *
 * Ported rule by rule from moqvox/media/playout.py, which explains them; both run
 * tests/vectors/playout.json. Nothing here touches audio, a clock or the browser. Times are
 * microseconds of any steady clock, given as arguments.
 */

import { LocalError } from "./errors.js";
import {
  FRAME_OVERHEAD_BYTES, Outcome, policyOf, samplesToUs, usToSamples,
} from "./decision.js";
import { Lead, Pace, fits } from "./lead.js";
import { Timeline } from "./timeline.js";

/** Long enough not to click, short enough not to be a word. */
export const FADE_US = 20_000;

const CLOSED_REMEMBERED = 1_024;
const refused = (outcome) =>
  ({ outcome, index: null, kept: 0, duplicate: 0, late: 0, clamped: false });

/** One output's queue of items. Item numbers are the caller's; higher means newer. */
export class Playout {
  #lead;
  #pace;
  #items = new Map();
  #current = null;
  #closed = new Set();
  #staleThrough = -1;
  #committed = [];
  #paused = false;

  constructor(policy) {
    this.policy = policyOf(policy);
    this.#lead = new Lead(this.policy);
    this.#pace = new Pace(this.policy);
  }

  /** Announce an item before its first frame, so that no newer one overtakes it. */
  open(item) {
    return this.#find(item)[0];
  }

  /** Offer one frame; `sizeBytes` is what holding it costs the caller. */
  push(item, timestampUs, samples, nowUs, sizeBytes = 0) {
    const costBytes = sizeBytes + FRAME_OVERHEAD_BYTES;
    const { sampleRate, bytesMax } = this.policy;
    if (!(samples >= 1 && samples <= sampleRate) || costBytes > Math.floor(bytesMax / 2)) {
      return refused(Outcome.INVALID);
    }
    const [outcome, timeline] = this.#find(item);
    if (timeline === null) return refused(outcome);
    const place = timeline.place(timestampUs, samples);
    this.#choose();
    const lead = timeline.leadWith(place, samples);
    if (!fits(this.policy, this.#items.values(), this.#current, timeline, lead, costBytes)) {
      return refused(Outcome.FULL);
    }
    const first = !timeline.frames;
    const pushed = timeline.insert(place, timestampUs, samples, sizeBytes);
    if (pushed.kept && !place.clamped) {
      const mediaUs = samplesToUs(place.position, sampleRate);
      timeline.floor = this.#lead.arrived(timeline.floor, mediaUs, nowUs);
    }
    if (pushed.kept && first) {
      timeline.waitingSinceUs = nowUs;
      timeline.absorb();
    }
    return pushed;
  }

  /** Note that an item is complete: it plays to its end without waiting for more. */
  end(item) {
    const [outcome, timeline] = this.#find(item);
    if (timeline) timeline.close();
    return outcome;
  }

  /** Drop what is unplayed of one item, after a short fade if it sounds. */
  reset(item, fadeUs = FADE_US) {
    if (this.#isStale(item)) return null;
    const timeline = this.#items.get(item) ?? new Timeline(item, this.policy);
    return this.#giveUp(timeline, "reset", fadeUs);
  }

  /** Drop everything unplayed at once, after a short fade of what sounds: a barge-in. */
  flush(fadeUs = FADE_US, through = null) {
    through ??= Math.max(-1, ...this.#items.keys());
    const ended = [...this.#items.keys()]
      .filter((item) => item <= through)
      .sort((one, other) => one - other)
      .map((item) => this.#giveUp(this.#items.get(item), "flushed", fadeUs));
    this.#staleThrough = Math.max(this.#staleThrough, through);
    for (const item of this.#closed) {
      if (item <= this.#staleThrough) this.#closed.delete(item);
    }
    return ended;
  }

  /** Hold playback where it is, after a short fade; frames are still accepted. */
  pause(fadeUs = FADE_US) {
    if (!this.#paused) this.#fadeOut(this.#current, fadeUs);
    this.#paused = true;
  }

  resume() {
    this.#paused = false;
  }

  /**
   * Decide the next `samples` of output. `stretch` asks to leave out so many source samples
   * (or, negative, to repeat them) right here, which is done if `stretchRoom` allows it.
   */
  pull(samples, nowUs, stretch = 0) {
    if (samples < 0) throw new LocalError(`pulled ${samples} samples, allowed 0 and up`);
    const decisions = [];
    if (samples) {
      this.#settle(decisions);
      this.#pace.update(this.#current, samples, this.#lead.targetUs(nowUs), this.#paused);
      this.#stretch(stretch, decisions);
    }
    for (let left = samples; left > 0; ) {
      left -= this.#emit(left, nowUs, decisions);
      this.#settle(decisions);
    }
    return decisions;
  }

  /** How many samples the next pull may leave out (> 0) or repeat (< 0). */
  get stretchRoom() {
    return this.#committed.length || this.#paused ? 0 : this.#pace.room;
  }

  /** What the current item would play next without a break, after what is committed. */
  ahead(samples) {
    this.#choose();
    return this.#current?.playing ? this.#current.ahead(samples) : [];
  }

  /** What is decided already and comes first in the next pulls. */
  committed() {
    return [...this.#committed];
  }

  /** The account so far of an item that is not over; null for any other. */
  totals(item) {
    return this.#items.get(item)?.totals() ?? null;
  }

  /** A snapshot for a user interface. */
  stats(nowUs) {
    this.#choose();
    const current = this.#current;
    const rate = this.policy.sampleRate;
    const timelines = [...this.#items.values()];
    const sum = (measure) => timelines.reduce((all, each) => all + measure(each), 0);
    return {
      state: this.#state(),
      item: current ? current.item : null,
      leadUs: current ? samplesToUs(current.leadSamples, rate) : 0,
      queuedUs: samplesToUs(sum((each) => each.leadSamples), rate),
      targetUs: this.#lead.targetUs(nowUs),
      spreadUs: this.#lead.spreadUs(nowUs),
      pace: this.#pace.direction,
      items: timelines.length,
      frames: sum((each) => each.frames),
      heldBytes: sum((each) => each.heldBytes),
    };
  }

  #state() {
    const current = this.#current;
    if (this.#paused) return "paused";
    if (current === null) return "idle";
    if (current.playing) return "playing";
    return current.began ? "underrun" : "buffering";
  }

  #isStale(item) {
    return item <= this.#staleThrough || this.#closed.has(item);
  }

  #find(item) {
    if (!Number.isInteger(item) || item < 0) {
      throw new LocalError(`item number ${item}, allowed 0 and up`);
    }
    let timeline = this.#items.get(item);
    if (!timeline) {
      if (this.#isStale(item)) return [Outcome.STALE, null];
      if (this.#items.size >= this.policy.itemsMax) return [Outcome.FULL, null];
      timeline = new Timeline(item, this.policy);
      this.#items.set(item, timeline);
    }
    return [Outcome.ACCEPTED, timeline];
  }

  /** Make the oldest item current, unless one already sounds. */
  #choose() {
    if (this.#current?.began) return;
    const oldest = Math.min(...this.#items.keys());
    this.#current = this.#items.get(oldest) ?? null;
  }

  /** Report items that were heard to their end. */
  #settle(decisions) {
    this.#choose();
    while (this.#current?.finished && !this.#committed.length) {
      decisions.push(this.#close(this.#current, "played"));
      this.#choose();
    }
  }

  #close(timeline, how) {
    timeline.drop();
    this.#items.delete(timeline.item);
    if (this.#current === timeline) this.#current = null;
    this.#closed.add(timeline.item);
    if (this.#closed.size > CLOSED_REMEMBERED) {
      this.#staleThrough = Math.min(...this.#closed);
      this.#closed.delete(this.#staleThrough);
    }
    return { kind: "ended", item: timeline.item, how, totals: timeline.totals() };
  }

  #giveUp(timeline, how, fadeUs) {
    if (timeline === this.#current && !this.#paused) this.#fadeOut(timeline, fadeUs);
    return this.#close(timeline, how);
  }

  /** Commit the next moment of audio to a fade, as far as it goes without a break. */
  #fadeOut(timeline, fadeUs) {
    const fading = this.#committed.some((each) => each.kind === "fade");
    if (!timeline?.playing || fading) return;
    const ahead = timeline.ahead(usToSamples(fadeUs, this.policy.sampleRate));
    const total = ahead.reduce((sum, piece) => sum + piece.samples, 0);
    for (let start = 0; start < total; ) {
      const piece = timeline.hear(total - start);
      if (!piece) break;
      this.#committed.push({ ...piece, kind: "fade", start, total });
      start += piece.samples;
    }
  }

  /** Leave out or repeat `samples` here if there is room and audio for it. */
  #stretch(samples, decisions) {
    const [current, room] = [this.#current, this.stretchRoom];
    if (!current || !samples || samples * room <= 0 || Math.abs(samples) > Math.abs(room)) return;
    if (samples < 0) {
      current.repeatedSamples -= samples;
      current.debtSamples -= samples;
      this.#committed.push({ kind: "repeat", item: current.item, samples: -samples });
    } else if (current.ahead(samples).reduce((sum, each) => sum + each.samples, 0) < samples) {
      return;
    }
    this.#pace.spend(Math.abs(samples));
    while (samples > 0) {
      const piece = current.remove(samples);
      if (!piece) break;
      decisions.push({ ...piece, kind: "remove" });
      samples -= piece.samples;
    }
  }

  /** Decide one run of output; returns how many samples it covers. */
  #emit(left, nowUs, decisions) {
    if (this.#committed.length) return this.#emitCommitted(left, decisions);
    const current = this.#current;
    const silence = (reason) => {
      decisions.push({ kind: "silence", reason, samples: left, item: current?.item ?? null });
      return left;
    };
    if (this.#paused || !current) return silence(this.#paused ? "paused" : "idle");
    if (!current.playing && !this.#start(current, nowUs, decisions)) {
      if (!current.began) return silence("buffering");
      current.drySamples += left;
      current.silenceSamples += left;
      return silence("underrun");
    }
    this.#stayLive(current, nowUs, decisions);
    return this.#advance(current, left, decisions);
  }

  #emitCommitted(left, decisions) {
    const head = this.#committed.shift();
    const count = Math.min(left, head.samples);
    const rest = head.samples - count;
    decisions.push({ ...head, samples: count });
    if (rest && head.kind === "repeat") this.#committed.unshift({ ...head, samples: rest });
    else if (rest) {
      const [offset, start] = [head.offset + count, head.start + count];
      this.#committed.unshift({ ...head, offset, samples: rest, start });
    }
    return count;
  }

  /** Start or go on if the lead suffices, no more will come, or the wait is over. */
  #start(timeline, nowUs, decisions) {
    if (!timeline.frames || timeline.waitingSinceUs === null) return false;
    const leadUs = samplesToUs(timeline.leadSamples, this.policy.sampleRate);
    const ready =
      timeline.fin ||
      leadUs >= timeline.leadWantedUs(this.#lead.targetUs(nowUs)) ||
      nowUs - timeline.waitingSinceUs >= this.policy.startDeadlineUs;
    if (!ready) return false;
    if (!timeline.began) decisions.push({ kind: "began", item: timeline.item });
    timeline.start();
    return true;
  }

  /** Where late audio is to be skipped, drop the oldest when too much has piled up. */
  #stayLive(timeline, nowUs, decisions) {
    const { late, skipOverUs, sampleRate } = this.policy;
    if (late === "wait" || timeline.fin) return;
    const lead = timeline.leadSamples;
    if (lead <= usToSamples(skipOverUs, sampleRate)) return;
    const target = usToSamples(this.#lead.targetUs(nowUs), sampleRate);
    const stop = timeline.cursor + lead - target;
    while (timeline.cursor < stop) {
      const piece = timeline.skip(stop - timeline.cursor);
      if (piece) decisions.push({ ...piece, kind: "skip" });
    }
  }

  /** Play the next frame or gap, or run dry. */
  #advance(timeline, left, decisions) {
    const piece = timeline.hear(left);
    if (piece) {
      this.#pace.played(piece.samples);
      decisions.push(piece);
      return piece.samples;
    }
    const gap = Math.min(left, timeline.gapSamplesAhead);
    if (gap) {
      timeline.passGap(gap);
      decisions.push({ kind: "silence", reason: "gap", samples: gap, item: timeline.item });
      return gap;
    }
    this.#pace.stop();
    timeline.playing = false;
    timeline.waitingSinceUs = null;
    timeline.underruns += 1;
    return 0;
  }
}
