/**
 * One item's audio in order: where each frame belongs, and how far it has been heard.
 * Ported rule by rule from moqvox/media/timeline.py.
 *
 * Positions count samples from the item's first accepted frame. A timestamp names a piece of
 * audio: what has the same timestamps is the same audio, and is kept once.
 */

import { FRAME_OVERHEAD_BYTES, Outcome, samplesToUs, usToSamples } from "./decision.js";

const TIMESTAMP_LIMIT_US = 2 ** 52;
const SPAN_LIMIT_US = 4 * 3600 * 1_000_000;
const GAPS_REMEMBERED = 64;
const RELAPSE_US = 1_000_000;
const STEADY_US = 10_000_000;
const DOUBLINGS_MAX = 12;

const clamp = (value, limit) => Math.max(-limit, Math.min(limit, value));

/** One response in playout: what is held of it, where it is, what was heard. */
export class Timeline {
  cursor = 0;
  end = 0;
  heldBytes = 0;
  fin = false;
  began = false;
  playing = false;
  floor = null;
  waitingSinceUs = null;
  drySamples = 0;
  debtSamples = 0;
  silenceSamples = 0;
  underruns = 0;
  repeatedSamples = 0;
  #relapses = 0;
  #resumedAt = null;
  #policy;
  #segments = [];
  #gaps = [];
  #anchor = null;
  #origin = 0;
  #heardTo = 0;
  #heardTimestampUs = null;
  #nextIndex = 0;
  #count = {
    heard: 0, skipped: 0, removed: 0, dropped: 0, gap: 0, late: 0, duplicate: 0, clamped: 0,
  };

  constructor(item, policy) {
    this.item = item;
    this.#policy = policy;
  }

  get frames() {
    return this.#segments.length;
  }

  get leadSamples() {
    return this.#segments.length ? this.end - this.cursor : 0;
  }

  get gapSamplesAhead() {
    return this.#segments.length ? this.#segments[0].position - this.cursor : 0;
  }

  get finished() {
    return this.fin && !this.#segments.length;
  }

  /** Where a frame belongs, `{ position, clamped }`. */
  place(timestampUs, samples) {
    const stampUs = clamp(timestampUs, TIMESTAMP_LIMIT_US);
    const clamped = stampUs !== timestampUs;
    if (this.#anchor === null) return { position: 0, clamped };
    const [anchorUs, anchor] = this.#anchor;
    const rate = this.#policy.sampleRate;
    const position = anchor + usToSamples(clamp(stampUs - anchorUs, SPAN_LIMIT_US), rate);
    if (Math.abs(position - this.end) <= this.#snap(samples)) {
      return { position: this.end, clamped };
    }
    const gapMax = usToSamples(this.#policy.gapMaxUs, rate);
    if (position > this.end + gapMax) return { position: this.end + gapMax, clamped: true };
    if (position < this.#origin - gapMax) return { position: this.end, clamped: true };
    return { position, clamped };
  }

  /** The lead, in samples, if a frame were accepted there. */
  leadWith(place, samples) {
    const start = this.began ? this.cursor : Math.min(this.cursor, place.position);
    return Math.max(this.end, place.position + samples) - start;
  }

  /** Put a frame at its place, or as much of it as is new. */
  insert(place, timestampUs, samples, sizeBytes) {
    const { clamped } = place;
    if (clamped) this.#count.clamped += 1;
    const { slot, start, first, kept, late, duplicate } = this.#fate(place.position, samples);
    this.#count.late += late;
    this.#count.duplicate += duplicate;
    if (!kept) {
      const outcome = late ? Outcome.LATE : Outcome.DUPLICATE;
      return { outcome, index: null, kept, duplicate, late, clamped };
    }
    const index = this.#nextIndex++;
    const segment = {
      position: first,
      index,
      timestampUs,
      offset: first - start,
      samples: kept,
      heldBytes: sizeBytes + FRAME_OVERHEAD_BYTES,
    };
    this.#segments.splice(slot, 0, segment);
    this.heldBytes += segment.heldBytes;
    this.#stretchTo(segment, start);
    return { outcome: Outcome.ACCEPTED, index, kept, duplicate, late, clamped };
  }

  /** The lead to gather before playing starts, or goes on after it ran dry. */
  leadWantedUs(targetUs) {
    if (!this.began) return targetUs;
    const doublings = Math.max(0, this.#relapsesSoFar() - this.#policy.relapsesBorne);
    return Math.min(targetUs, this.#policy.resumeUs * 2 ** doublings);
  }

  /** Note that playing starts, or goes on. */
  start() {
    if (this.began) {
      this.#relapses = this.#relapsesSoFar();
      this.#resumedAt = this.cursor;
    }
    this.began = true;
    this.playing = true;
    this.debtSamples += this.drySamples;
    this.drySamples = 0;
  }

  /** Count silence put in while dry towards the gap that the new frame asks for. */
  absorb() {
    const absorbed = Math.min(this.drySamples, this.gapSamplesAhead);
    if (!absorbed) return;
    this.passGap(absorbed);
    this.drySamples -= absorbed;
    this.silenceSamples -= absorbed;
    if (!this.drySamples) {
      this.underruns -= 1;
      this.playing = true;
    }
  }

  /** Note that no more will come. A wait for more after the last sample was no underrun. */
  close() {
    this.fin = true;
    if (this.drySamples && !this.#segments.length) {
      this.underruns -= 1;
      this.silenceSamples -= this.drySamples;
      this.drySamples = 0;
    }
  }

  /** What would be played next without a break, up to `samples`; takes nothing. */
  ahead(samples) {
    const pieces = [];
    let position = this.cursor;
    for (const segment of this.#segments) {
      if (segment.position !== position || samples <= 0) break;
      const count = Math.min(samples, segment.samples);
      pieces.push(this.#piece(segment, count));
      position += count;
      samples -= count;
    }
    return pieces;
  }

  /** Take up to `samples` of the frame at the cursor; null when nothing is there. */
  hear(samples) {
    const piece = this.#take(samples);
    if (piece) this.#count.heard += piece.samples;
    return piece;
  }

  /** Take like `hear`, for time-stretch to leave out. */
  remove(samples) {
    const piece = this.hear(samples);
    if (piece) {
      this.#count.removed += piece.samples;
      this.debtSamples = Math.max(0, this.debtSamples - piece.samples);
    }
    return piece;
  }

  /** Take like `hear`, unheard; passes over gaps. */
  skip(samples) {
    const gap = Math.min(samples, this.gapSamplesAhead);
    this.#leaveEmpty(gap);
    const piece = samples > gap ? this.#take(samples - gap) : null;
    if (piece) this.#count.skipped += piece.samples;
    return piece;
  }

  /** Move the cursor through silence that the timestamps ask for. */
  passGap(samples) {
    this.#leaveEmpty(samples);
    this.#count.gap += samples;
  }

  /** Give up everything unplayed. */
  drop() {
    for (const segment of this.#segments) this.#count.dropped += segment.samples;
    this.#segments = [];
    this.heldBytes = 0;
  }

  /** The account so far. */
  totals() {
    const count = this.#count;
    const heardUs = samplesToUs(this.#heardTo - this.#origin, this.#policy.sampleRate);
    return {
      heardSamples: count.heard,
      heardUs: this.began ? heardUs : 0,
      heardTimestampUs: this.#heardTimestampUs,
      gapSamples: count.gap,
      silenceSamples: this.silenceSamples,
      underruns: this.underruns,
      lateSamples: count.late,
      duplicateSamples: count.duplicate,
      skippedSamples: count.skipped,
      droppedSamples: count.dropped,
      removedSamples: count.removed,
      repeatedSamples: this.repeatedSamples,
      clampedFrames: count.clamped,
    };
  }

  /** How often in a row it ran dry soon after going on, this time included. */
  #relapsesSoFar() {
    if (this.#resumedAt === null) return 0;
    const playedUs = samplesToUs(this.cursor - this.#resumedAt, this.#policy.sampleRate);
    if (playedUs >= STEADY_US) return 0;
    const most = this.#policy.relapsesBorne + DOUBLINGS_MAX;
    return Math.min(this.#relapses + (playedUs < RELAPSE_US ? 1 : 0), most);
  }

  /** How far off a frame may be and still count as adjacent: never half its length. */
  #snap(samples) {
    const snap = usToSamples(this.#policy.snapUs, this.#policy.sampleRate);
    return Math.min(snap, Math.floor(samples / 2));
  }

  /** What becomes of a frame: the first stretch of it that nothing else covers. */
  #fate(position, samples) {
    const [slot, low, high] = this.#slot(position);
    const snap = this.#snap(samples);
    const start = low !== null && Math.abs(position - low) <= snap ? low : position;
    const first = low === null ? start : Math.max(start, low);
    const last = high === null ? start + samples : Math.min(start + samples, high);
    let kept = Math.max(0, last - first);
    if (kept <= snap && kept < samples) kept = 0;
    const over = kept === samples ? 0 : this.#overlapWithGaps(start, start + samples);
    const late = Math.min(over, samples - kept);
    return { slot, start, first, kept, late, duplicate: samples - kept - late };
  }

  /** Where in the queue a frame goes, and the bounds of the free stretch there. */
  #slot(start) {
    let slot = this.#segments.length;
    while (slot && this.#segments[slot - 1].position > start) slot -= 1;
    const high = slot < this.#segments.length ? this.#segments[slot].position : null;
    if (slot) {
      const before = this.#segments[slot - 1];
      return [slot, before.position + before.samples, high];
    }
    if (!this.began) return [slot, null, high];
    return [slot, this.#policy.late === "skip" ? this.cursor : this.#heardTo, high];
  }

  #overlapWithGaps(start, stop) {
    let sum = 0;
    for (const [low, high] of this.#gaps) {
      sum += Math.max(0, Math.min(stop, high, this.cursor) - Math.max(start, low));
    }
    return sum;
  }

  /** Extend the item by a new segment whose frame begins at `start`. */
  #stretchTo(segment, start) {
    const end = segment.position + segment.samples;
    if (this.#anchor === null || end > this.end) {
      this.#anchor = [clamp(segment.timestampUs, TIMESTAMP_LIMIT_US), start];
      this.end = end;
    }
    if (!this.began) this.#origin = this.cursor = this.#segments[0].position;
    else if (segment.position < this.cursor) this.#rewind(segment.position);
  }

  /** Go back in a gap for audio that came late: the gap was a wait after all. */
  #rewind(position) {
    const samples = this.cursor - position;
    this.cursor = position;
    this.#count.gap -= samples;
    this.silenceSamples += samples;
    this.debtSamples += samples;
    const [low] = this.#gaps.pop();
    if (low < position) this.#gaps.push([low, position]);
  }

  /** Move the cursor past a place without audio; what comes for it later is late. */
  #leaveEmpty(samples) {
    if (!samples) return;
    let start = this.cursor;
    const last = this.#gaps.at(-1);
    if (last && last[1] === start) start = this.#gaps.pop()[0];
    this.cursor += samples;
    this.#gaps.push([start, this.cursor]);
    if (this.#gaps.length > GAPS_REMEMBERED) this.#gaps.shift();
  }

  #piece({ index, timestampUs, offset }, samples) {
    return { kind: "play", item: this.item, index, timestampUs, offset, samples };
  }

  #take(samples) {
    const segment = this.#segments[0];
    if (!segment || segment.position !== this.cursor) return null;
    const piece = this.#piece(segment, Math.min(samples, segment.samples));
    segment.position += piece.samples;
    segment.offset += piece.samples;
    segment.samples -= piece.samples;
    if (!segment.samples) {
      this.#segments.shift();
      this.heldBytes -= segment.heldBytes;
    }
    this.cursor += piece.samples;
    this.#heardTo = this.cursor;
    this.#heardTimestampUs =
      segment.timestampUs + samplesToUs(segment.offset, this.#policy.sampleRate);
    return piece;
  }
}
