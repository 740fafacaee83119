/**
 * What a call receives: the agent's responses and events, over any number of legs.
 *
 * Numbers name frames over the whole call, so a response goes on where it stopped. An agent
 * that says no `hello` may use its numbers again: there, the same number with the same first
 * frame is the same response, and another first frame means that it began anew.
 */

import { after } from "./clock.js";
import { MediaError, StreamCode, StreamEnded } from "./errors.js";
import { Response } from "./speech.js";

const PATIENCE_MS = 600_000;
const ACK_EVERY = 10;
const MAX_KEPT = 64;
const MAX_EVENT_BYTES = 64 * 1024;

/** Captions held of one response. */
const MAX_CAPTIONS = 1_024;

/** How long an unfinished response may take to go on, where the agent says no `hello`. */
const RESUME_MS = 4_000;

/** How long a `hello` is waited for: of an agent that said one before, and of any other. */
const HELLO_MS = 5_000;
const FIRST_HELLO_MS = 500;

/**
 * How long a response that was reset may still turn out to be one whose connection ended
 * somewhere on its way. An agent that takes one back says so by an event, too.
 */
const DOUBT_MS = 2_000;

/** Codes of groups that were taken back, or whose connection ended somewhere on their way. */
const DOUBTFUL = new Set([StreamCode.CANCELLED, StreamCode.GOING_AWAY]);

const FIELDS = {
  ack: { speech: "number", frames: "number" },
  receipt: { speech: "number", frames: "number", digest: "string", complete: "boolean" },
  heard: { speech: "number", heard_us: "number", state: "string" },
  interrupt: { speech: "number" },
  cancel: { speech: "number" },
  caption: { speech: "number", text: "string" },
  message: { name: "string" },
  hello: {},
  noted: { n: "number" },
  bye: {},
};

/** Read one event; null for a type not known here. Throws MediaError for a broken one. */
export function decodeEvent(payload) {
  if (payload.length > MAX_EVENT_BYTES) {
    throw new MediaError(`an event of ${payload.length} bytes, ${MAX_EVENT_BYTES} are allowed`);
  }
  let event;
  try {
    event = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (error) {
    throw new MediaError(`an event that is no JSON: ${error.message}`);
  }
  const fields = Object.hasOwn(FIELDS, event?.type) ? FIELDS[event.type] : null;
  if (!fields) return null;
  for (const [name, type] of Object.entries(fields)) {
    if (typeof event[name] !== type) {
      throw new MediaError(`an event "${event.type}" whose ${name} is no ${type}`);
    }
  }
  return event;
}

const same = (one, other) =>
  one !== null && one.length === other.length && one.every((byte, at) => byte === other[at]);

/** The agent's side of a call, put together from all legs. */
export class Inbox {
  /** Whether the agent has ever said `hello`. */
  isGreeted = false;
  #begun;
  #progress;
  #event;
  #responses = new Map();
  #reading = new Map();
  #early = new Map();
  #items = 0;
  #resuming = null;

  /** `begun(response)`, `progress(response, last)`, `event(event, leg)` are told as things come. */
  constructor({ begun, progress, event }) {
    this.#begun = begun;
    this.#progress = progress;
    this.#event = event;
  }

  /** Read the agent's broadcast of a leg until its tracks end; throws what ended it otherwise. */
  async read(session, leg) {
    const wishes = { ordered: true, maxAgeMs: PATIENCE_MS };
    const audio = session.subscribe(leg.agentPath, "audio", { priority: 80, ...wishes });
    const events = session.subscribe(leg.agentPath, "events", { priority: 120, ...wishes });
    const reading = this.#readEvents(events, leg).catch(() => {});
    await audio.accepted;
    for await (const group of audio) void this.#readSpeech(group, leg);
    await reading;
  }

  /** What we have, as a `hello` tells it. */
  have() {
    return [...this.#responses.values()].slice(-MAX_KEPT)
      .map((response) => [response.number, response.unbroken, response.over ? 1 : 0]);
  }

  /** The first number that no response of the agent's has had. */
  get next() {
    return Math.max(-1, ...this.#responses.keys()) + 1;
  }

  /** A later leg goes on with the same agent, or with one that has lost what was under way. */
  goOn({ isLost }) {
    this.#resuming?.();
    for (const response of this.#responses.values()) {
      if (response.over) continue;
      if (isLost) this.#finish(response);
      else response.resumptions += 1;
    }
  }

  /** Want no more of a response. */
  stop(response) {
    this.#reading.get(response)?.stop(StreamCode.CANCELLED);
    response.cancel();
  }

  /** A leg has begun with an agent that may say no `hello`: what it leaves alone ends. */
  renew(session) {
    const open = [...this.#responses.values()].filter((response) => !response.over);
    this.#resuming?.();
    this.#resuming = after(RESUME_MS, () => {
      for (const response of open) {
        if (!response.over && !session.isClosed && !this.#reading.has(response)) {
          this.#finish(response);
        }
      }
    });
  }

  close() {
    this.#resuming?.();
    for (const response of this.#responses.values()) if (!response.over) response.cancel();
  }

  #finish(response) {
    response.finish();
    this.#progress(response, true);
  }

  async #readSpeech(group, leg) {
    let response = null;
    try {
      // On the first leg every group begins with its first frame, whoever sends it.
      const hello = leg.number
        ? await leg.hello(this.isGreeted ? HELLO_MS : FIRST_HELLO_MS) : null;
      let at = group.frameStart;
      if (hello) {
        at += new Map(hello.from ?? []).get(group.sequence) ?? 0;
        response = this.#resumed(group, at);
        if (!response.over) response.isShort = Boolean(hello.short?.includes(group.sequence));
      }
      for await (const { payload } of group) {
        response ??= this.#find(group, payload);
        if (this.#reading.get(response) !== group) {
          if (response.over) {
            group.stop();
            return;
          }
          this.#reading.set(response, group);
        }
        if (at++ < response.next) continue;
        if (!response.add(payload, performance.now())) continue;
        if (response.frames === 1) this.#begun(response);
        if (response.frames % ACK_EVERY === 1) this.#progress(response, false);
      }
      if (response?.ended) return; // on two legs at once, and the other one was first
      if (!response?.cancelled) response?.finish();
    } catch (error) {
      // A lost connection leaves the response open: it goes on over the next one. So does an
      // agent that has followed to the next leg.
      if (error instanceof StreamEnded && error.code === StreamCode.SESSION_CLOSED) return;
      if (leg.isLeft && this.isGreeted) return;
      if (error instanceof StreamEnded && DOUBTFUL.has(error.code) && this.isGreeted) {
        if (response) this.#doubt(response, leg);
        return;
      }
      group.stop(StreamCode.MALFORMED_TRACK);
      response?.cancel();
    } finally {
      if (this.#reading.get(response) === group) this.#reading.delete(response);
    }
    if (response) this.#progress(response, true);
  }

  /** Take a response for taken back, unless its connection ends or it goes on meanwhile. */
  #doubt(response, leg) {
    after(DOUBT_MS, () => {
      if (response.over || leg.isLeft || leg.session.isClosed) return;
      if (this.#reading.has(response)) return;
      response.cancel();
      this.#progress(response, true);
    });
  }

  /** The response that goes on with frame `at` of a group, or begins with it. */
  #resumed(group, at) {
    const response = this.#responses.get(group.sequence) ?? this.#new(group.sequence);
    if (!response.over && at > response.next) response.skipTo(at);
    return response;
  }

  /** The response a group belongs to: one that goes on, or a new one. */
  #find(group, payload) {
    const known = this.#responses.get(group.sequence);
    if (known && (group.frameStart > 0 || same(known.firstPayload, payload))) return known;
    if (known) {
      for (const response of this.#responses.values()) {
        if (!response.over) response.finish();
      }
      this.#responses.clear();
    }
    return this.#new(group.sequence);
  }

  #new(number) {
    const response = new Response(number, this.#items++);
    response.captions.push(...(this.#early.get(number) ?? []));
    this.#early.delete(number);
    this.#responses.set(number, response);
    for (const [number, each] of this.#responses) {
      if (this.#responses.size <= MAX_KEPT) break;
      if (each.over) this.#responses.delete(number);
    }
    return response;
  }

  async #readEvents(events, leg) {
    for await (const group of events) {
      try {
        for await (const { payload } of group) this.#takeEvent(payload, leg);
      } catch (error) {
        if (!(error instanceof StreamEnded)) throw error;
      }
    }
  }

  #takeEvent(payload, leg) {
    let event;
    try {
      event = decodeEvent(payload);
    } catch (error) {
      console.warn(`moqvox: ${error.message}`);
      return;
    }
    if (event) this.#event(event, leg);
  }

  /** Take an event about a response, once. */
  note(event) {
    if (event.type === "caption") this.#caption(event);
    if (event.type !== "cancel") return;
    const response = this.#responses.get(event.speech);
    if (response && !response.cancelled) this.stop(response);
  }

  /** Keep a caption with its response, which may come later: it has a stream of its own. */
  #caption(caption) {
    const response = this.#responses.get(caption.speech);
    if (response) {
      if (response.captions.length < MAX_CAPTIONS) response.captions.push(caption);
      return;
    }
    const early = this.#early.get(caption.speech) ?? [];
    if (this.#early.size >= MAX_KEPT || early.length >= MAX_CAPTIONS) return;
    this.#early.set(caption.speech, [...early, caption]);
  }
}
