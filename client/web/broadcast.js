/**
 * What we publish: a broadcast's tracks, kept so that listeners who come late or come back
 * still get them. Pure but for the clock it is given.
 */

import { LocalError, StreamCode } from "./errors.js";
import { Signal } from "./streams.js";

/** What a track keeps: ten minutes, 32 MiB, 256 groups. The oldest settled goes first. */
const KEEP = Object.freeze({ groups: 256, bytes: 32 * 1024 * 1024, ageMs: 600_000 });

/** One group on its way out: frames in order, then its end or why it was given up. */
class Group {
  frames = [];
  bytes = 0;
  finished = false;
  abortCode = null;
  /** Its receiver told that it has all of it, or that it wants no more. */
  settled = false;
  changed = new Signal();

  constructor(sequence, createdMs) {
    this.sequence = sequence;
    this.createdMs = createdMs;
  }

  get over() {
    return this.finished || this.abortCode !== null;
  }

  write(payload, timestamp) {
    if (this.over) throw new LocalError(`group ${this.sequence} was ended`);
    this.frames.push({ payload, timestamp });
    this.bytes += payload.length;
    this.changed.fire();
  }

  finish() {
    if (this.over) return;
    this.finished = true;
    this.changed.fire();
  }

  abort(code = StreamCode.CANCELLED) {
    if (this.abortCode !== null) return;
    this.abortCode = code;
    this.changed.fire();
  }

  /** Its receiver needs it no more: it is not replayed, and goes first when room is needed. */
  settle() {
    this.settled = true;
  }
}

/** A track that is published: groups, of which the newest are kept for who comes late. */
export class Track {
  ended = false;
  changed = new Signal();
  #groups = new Map();
  #next = 0;
  #now;
  #keep;

  constructor(info, { now = () => performance.now(), keep = KEEP } = {}) {
    this.info = { priority: 128, ordered: false, maxAgeMs: 0, timescale: 1_000_000, ...info };
    this.#now = now;
    this.#keep = keep;
  }

  /** The first group number that was never used. */
  get next() {
    return this.#next;
  }

  append() {
    return this.create(this.#next);
  }

  /** Begin the group of that number, which was never used. */
  create(sequence) {
    if (this.ended) throw new LocalError("a track that was ended takes no more groups");
    if (sequence < this.#next) throw new LocalError(`group ${sequence} was used already`);
    const group = new Group(sequence, this.#now());
    this.#next = sequence + 1;
    this.#groups.set(sequence, group);
    this.prune();
    this.changed.fire();
    return group;
  }

  get(sequence) {
    return this.#groups.get(sequence);
  }

  /** No more groups will come. */
  end() {
    this.ended = true;
    this.changed.fire();
  }

  /** Groups kept from `from` on, in order. */
  since(from) {
    return [...this.#groups.values()].filter((group) => group.sequence >= from);
  }

  /** Of what was, the first group that a subscription asks for. */
  firstWanted({ groupStart = null, maxAgeMs = 0 }) {
    const kept = [...this.#groups.values()];
    const latest = kept.at(-1);
    if (!latest) return Math.max(groupStart ?? 0, this.#next);
    if (!maxAgeMs) {
      const exact = groupStart !== null && this.#groups.has(groupStart);
      return exact ? groupStart : latest.sequence;
    }
    const young = kept.find((group) => latest.createdMs - group.createdMs <= maxAgeMs);
    return Math.max(groupStart ?? 0, young.sequence);
  }

  /** Keep within the bounds; what is still being written stays. */
  prune() {
    const now = this.#now();
    let bytes = 0;
    for (const group of this.#groups.values()) bytes += group.bytes;
    const old = [...this.#groups.values()]
      .filter((group) => group.over)
      .sort((one, other) => other.settled - one.settled || one.sequence - other.sequence);
    for (const group of old) {
      const tooOld = group.settled && now - group.createdMs > this.#keep.ageMs;
      const tooMany = this.#groups.size > this.#keep.groups || bytes > this.#keep.bytes;
      if (!tooOld && !tooMany) continue;
      this.#groups.delete(group.sequence);
      bytes -= group.bytes;
    }
  }
}

/** Tracks by name. */
export class Broadcast {
  tracks = new Map();

  createTrack(name, info, options) {
    const track = new Track(info, options);
    this.tracks.set(name, track);
    return track;
  }

  /** The track of that name, or null; may throw `Refused` to say why not. */
  find(name) {
    return this.tracks.get(name) ?? null;
  }
}

/** Broadcasts by path; those marked hidden are served but not announced. */
export class Origin {
  changed = new Signal();
  #broadcasts = new Map();

  publish(path, broadcast, { hidden = false } = {}) {
    this.#broadcasts.set(path, { broadcast, hidden });
    this.changed.fire();
  }

  withdraw(path) {
    if (this.#broadcasts.delete(path)) this.changed.fire();
  }

  get(path) {
    return this.#broadcasts.get(path)?.broadcast ?? null;
  }

  /** Announced paths below a prefix, as suffixes. */
  below(prefix) {
    const suffixes = [];
    for (const [path, { hidden }] of this.#broadcasts) {
      const suffix = suffixOf(prefix, path);
      if (!hidden && suffix !== null) suffixes.push(suffix);
    }
    return suffixes;
  }
}

/** What follows `prefix` in `path`, segment by segment; null if it lies elsewhere. */
export function suffixOf(prefix, path) {
  if (!prefix) return path;
  if (path === prefix) return "";
  return path.startsWith(`${prefix}/`) ? path.slice(prefix.length + 1) : null;
}

/** Join a prefix and a suffix, either of which may be empty. */
export const joined = (prefix, suffix) => [prefix, suffix].filter(Boolean).join("/");
