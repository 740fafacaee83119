/**
 * Turn decoded frames into the samples to output: playout decisions, stretch and fades.
 *
 * The browser's counterpart of moqvox/media/player.py, which takes packets; here they come
 * decoded, because decoders don't exist where audio is rendered. Everything is a function of
 * its arguments; the caller owns clock and device. Samples are Float32, mono.
 */

import { LocalError } from "./errors.js";
import { FADE_US, Playout } from "./playout.js";
import { Edge, Stretch } from "./stretch.js";

/** How often a place for a cut is looked for, in output samples. */
const LOOK_EVERY = 960;

/** Puts samples out as playout.js decides. */
export class Player {
  #playout;
  #frames = new Map();
  #at = null;
  #stretch;
  #edge;
  #sounding = false;
  #broken = false;
  #sinceLook = 0;

  constructor(policy) {
    this.#playout = new Playout(policy);
    const { sampleRate, spliceMaxUs } = this.#playout.policy;
    this.#stretch = new Stretch(sampleRate, spliceMaxUs);
    this.#edge = new Edge(sampleRate);
  }

  /** Offer one decoded frame; "full" means offer it again later. */
  push(item, timestampUs, pcm, nowUs) {
    const pushed = this.#playout.push(item, timestampUs, pcm.length, nowUs, pcm.byteLength);
    if (pushed.index !== null) {
      if (!this.#frames.has(item)) this.#frames.set(item, new Map());
      this.#frames.get(item).set(pushed.index, pcm);
    }
    return pushed;
  }

  open(item) {
    return this.#playout.open(item);
  }

  end(item) {
    return this.#playout.end(item);
  }

  /** Drop what is unplayed of one item, after a short fade if it sounds. */
  reset(item, fadeUs = FADE_US) {
    const ended = this.#playout.reset(item, fadeUs);
    if (ended) this.#forget(ended);
    return ended;
  }

  /** Drop everything unplayed at once, after a short fade of what sounds. */
  flush(fadeUs = FADE_US, through = null) {
    const ended = this.#playout.flush(fadeUs, through);
    for (const each of ended) this.#forget(each);
    return ended;
  }

  totals(item) {
    return this.#playout.totals(item);
  }

  stats(nowUs) {
    return this.#playout.stats(nowUs);
  }

  /** Fill `output` with the next samples; returns the decisions it consists of. */
  render(output, nowUs) {
    const [ahead, cut] = this.#chooseCut(output.length);
    const decisions = this.#playout.pull(output.length, nowUs, cut);
    if (decisions.some(({ kind }) => kind === "remove")) this.#stretch.remove(ahead);
    else if (cut < 0 && decisions.some(({ kind }) => kind === "repeat")) {
      this.#stretch.repeat(ahead, -cut);
    }
    let at = 0;
    for (const decision of decisions) {
      const pcm = this.#make(decision);
      if (!pcm) continue;
      const place = output.subarray(at, at + pcm.length);
      place.set(pcm);
      this.#edge.join(place);
      at += pcm.length;
    }
    return decisions;
  }

  /** Look for a place to cut when enough room was saved up. */
  #chooseCut(samples) {
    this.#sinceLook += samples;
    const room = this.#playout.stretchRoom;
    const saved = Math.abs(room) * 3 >= this.#stretch.longest * 2;
    if (!saved || this.#broken || this.#sinceLook < LOOK_EVERY) return [null, 0];
    this.#sinceLook = 0;
    const pieces = this.#playout.ahead(this.#stretch.reach).map((piece) => this.#pcmOf(piece));
    const ahead = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      ahead.set(piece, at);
      at += piece.length;
    }
    return [ahead, this.#stretch.choose(ahead, room)];
  }

  #make(decision) {
    switch (decision.kind) {
      case "play":
      case "fade":
        return this.#sound(decision);
      case "silence":
        return this.#fallSilent(decision);
      case "repeat":
        return this.#stretch.repeated(decision.samples);
      case "skip":
        this.#move(decision);
        this.#broken = true;
        return null;
      case "remove":
        this.#move(decision);
        return null;
      case "began":
        this.#stretch.forget();
        return null;
      default:
        this.#forget(decision);
        return null;
    }
  }

  #sound(piece) {
    this.#move(piece);
    if (this.#broken) {
      this.#edge.cut();
      this.#stretch.forget();
    }
    this.#broken = false;
    this.#sounding = true;
    let pcm = this.#stretch.play(this.#pcmOf(piece));
    if (piece.kind === "fade") {
      pcm = pcm.map((value, at) => (value * (piece.total - piece.start - at)) / piece.total);
      this.#broken = piece.start + piece.samples === piece.total;
      // A fade that is over has reached zero by itself.
      this.#sounding = !this.#broken;
    }
    return pcm;
  }

  #fallSilent({ reason, samples }) {
    if (this.#sounding) {
      this.#edge.cut();
      this.#stretch.forget();
    }
    this.#sounding = false;
    this.#broken = reason === "underrun" || reason === "paused";
    return new Float32Array(samples);
  }

  #pcmOf({ item, index, offset, samples }) {
    const pcm = this.#frames.get(item)?.get(index);
    if (!pcm) throw new LocalError(`frame ${index} of item ${item} was not pushed here`);
    return pcm.subarray(offset, offset + samples);
  }

  /** Note which frame sounds or is passed over; the one before it is done with. */
  #move({ item, index }) {
    const at = this.#at;
    if (at && (at.item !== item || at.index !== index)) {
      const held = this.#frames.get(at.item);
      held?.delete(at.index);
      if (held?.size === 0) this.#frames.delete(at.item);
    }
    this.#at = { item, index };
  }

  /** Let go of an item's frames, but for those a fade still needs. */
  #forget({ item, how }) {
    const needed = new Set(
      this.#playout.committed()
        .filter((each) => each.kind === "fade" && each.item === item)
        .map((each) => each.index),
    );
    if (!needed.size && this.#at?.item === item) this.#broken ||= how !== "played";
    const held = this.#frames.get(item);
    if (!held) return;
    for (const index of held.keys()) if (!needed.has(index)) held.delete(index);
    if (!held.size) this.#frames.delete(item);
  }
}
