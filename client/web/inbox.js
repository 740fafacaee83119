/**
 * What a call receives: the agent's responses and events, over any number of connections.
 *
 * A response that was cut off with its connection goes on where it stopped if the agent sends
 * it again: the same number with the same first frame. Another first frame means that the
 * agent began anew, and its numbers with it.
 */

import { MediaError, StreamCode, StreamEnded } from "./errors.js";
import { Response } from "./speech.js";

const PATIENCE_MS = 600_000;
const ACK_EVERY = 10;
const MAX_KEPT = 64;
const MAX_EVENT_BYTES = 64 * 1024;

/** Captions held of one response. */
const MAX_CAPTIONS = 1_024;

/** How long an unfinished response may take to go on after a reconnection. */
const RESUME_MS = 4_000;

const FIELDS = {
  ack: { speech: "number", frames: "number" },
  receipt: { speech: "number", frames: "number", digest: "string", complete: "boolean" },
  heard: { speech: "number", heard_us: "number", state: "string" },
  interrupt: { speech: "number" },
  cancel: { speech: "number" },
  caption: { speech: "number", text: "string" },
  message: { name: "string" },
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

export class Inbox {
  #begun;
  #progress;
  #event;
  #responses = new Map();
  #reading = new Map();
  #early = new Map();
  #items = 0;
  #resuming;

  /** `begun(response)`, `progress(response, last)`, `event(event)` are told as things come. */
  constructor({ begun, progress, event }) {
    this.#begun = begun;
    this.#progress = progress;
    this.#event = event;
  }

  /** Read the agent's broadcast until its tracks or the session end. */
  async read(session, path) {
    const wishes = { ordered: true, maxAgeMs: PATIENCE_MS };
    const audio = session.subscribe(path, "audio", { priority: 80, ...wishes });
    const events = session.subscribe(path, "events", { priority: 120, ...wishes });
    const reading = this.#readEvents(events).catch(() => {});
    await audio.accepted;
    for await (const group of audio) void this.#readSpeech(group);
    await reading;
  }

  /** Want no more of a response. */
  stop(response) {
    this.#reading.get(response)?.stop(StreamCode.CANCELLED);
    response.cancel();
  }

  /** After a reconnection: what the agent does not go on with ends with what there is. */
  renew(session) {
    const open = [...this.#responses.values()].filter((response) => !response.over);
    clearTimeout(this.#resuming);
    this.#resuming = setTimeout(() => {
      for (const response of open) {
        if (!response.over && !session.isClosed && !this.#reading.has(response)) {
          response.finish();
          this.#progress(response, true);
        }
      }
    }, RESUME_MS);
  }

  close() {
    clearTimeout(this.#resuming);
    for (const response of this.#responses.values()) if (!response.over) response.cancel();
  }

  async #readSpeech(group) {
    let response = null;
    let skip = 0;
    try {
      for await (const { payload } of group) {
        if (response === null) {
          response = this.#find(group, payload);
          if (response.over) {
            group.stop();
            return;
          }
          this.#reading.set(response, group);
          skip = response.frames - group.frameStart;
        }
        if (skip-- > 0) continue;
        if (!response.add(payload, performance.now())) continue;
        if (response.frames === 1) this.#begun(response);
        if (response.frames % ACK_EVERY === 1) this.#progress(response, false);
      }
      if (!response?.cancelled) response?.finish();
    } catch (error) {
      // A lost connection leaves the response open: it goes on over the next one.
      if (error instanceof StreamEnded && error.code === StreamCode.SESSION_CLOSED) return;
      group.stop(StreamCode.MALFORMED_TRACK);
      response?.cancel();
    } finally {
      if (this.#reading.get(response) === group) this.#reading.delete(response);
    }
    if (response) this.#progress(response, true);
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
    const response = new Response(group.sequence, this.#items++);
    response.captions.push(...(this.#early.get(group.sequence) ?? []));
    this.#early.delete(group.sequence);
    this.#responses.set(group.sequence, response);
    for (const [number, each] of this.#responses) {
      if (this.#responses.size <= MAX_KEPT) break;
      if (each.over) this.#responses.delete(number);
    }
    return response;
  }

  async #readEvents(events) {
    for await (const group of events) {
      try {
        for await (const { payload } of group) this.#takeEvent(payload);
      } catch (error) {
        if (!(error instanceof StreamEnded)) throw error;
      }
    }
  }

  #takeEvent(payload) {
    let event;
    try {
      event = decodeEvent(payload);
    } catch (error) {
      console.warn(`moqvox: ${error.message}`);
      return;
    }
    if (event?.type === "cancel") {
      const response = this.#responses.get(event.speech);
      if (response && !response.cancelled) this.stop(response);
    } else if (event) {
      if (event.type === "caption") this.#caption(event);
      this.#event(event);
    }
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
