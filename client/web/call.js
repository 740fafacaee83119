/**
 * One call, caller's side: speak utterances, take responses, tell what was heard.
 *
 * A call outlives its connections. What is spoken while there is none is kept and sent first;
 * on a new one the call goes on under its name, and utterances without a receipt are sent
 * again from their first frame, as fast as the path takes them.
 */

import { Broadcast, Origin } from "./broadcast.js";
import { StreamCode } from "./errors.js";
import { Inbox } from "./inbox.js";
import { Line } from "./line.js";
import { Speech } from "./speech.js";
import { Queue } from "./streams.js";

const EVENTS_A_GROUP = 1_024;
const MAX_SPEECHES = 64;
const MAX_RESPONSES = 64;
const MAX_EVENT_BYTES = 64 * 1024;
const MAX_UNCONFIRMED = 256;
const BITRATE = 24_000;

const randomHex = (bytes) =>
  [...crypto.getRandomValues(new Uint8Array(bytes))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");

/**
 * Events, all with `detail`: `state` ({ state, error }), `utterance` and `progress` (a Speech,
 * a Response), `caption`, `message`, `mark` ({ name, ms }).
 */
export class Call extends EventTarget {
  id = randomHex(8);
  state = "connecting";
  /** Milliseconds after the call began at which things first happened. */
  marks = {};
  /** Each response as it begins. */
  responses = new Queue(MAX_RESPONSES);
  /** How often the connection was replaced. */
  reconnects = -1;
  #beganMs = performance.now();
  #origin = new Origin();
  #audio;
  #events;
  #eventGroup = null;
  #speeches = new Map();
  #unconfirmed = [];
  #inbox;
  #line;
  #attached = 0;

  /** `dial(origin, originId)` opens a session; see dial.js. */
  constructor(dial) {
    super();
    const broadcast = new Broadcast();
    const kept = { ordered: true, maxAgeMs: 600_000 };
    this.#audio = broadcast.createTrack("audio", { priority: 80, ...kept });
    this.#events = broadcast.createTrack("events", { priority: 120, ...kept });
    describe(broadcast.createTrack("catalog.json", { priority: 100 }));
    this.#origin.publish(`${this.id}/caller`, broadcast);
    this.#origin.publish("caller", broadcast, { hidden: true });
    this.#inbox = new Inbox({
      begun: (response) => this.#begun(response),
      progress: (response, last) => this.#progress(response, last),
      event: (event) => this.#take(event),
    });
    const originId = Number.parseInt(randomHex(6), 16) + 1;
    this.#line = new Line({
      dial: () => dial(this.#origin, originId),
      attach: (session) => void this.#attach(session),
      tell: (state, detail) => this.#tell(state, detail),
      isWaiting: () => this.waitsForAck,
    });
    this.ended = this.#line.run();
  }

  /** The session in use, or null. */
  get session() {
    return this.#line.session;
  }

  /** Whether something was sent that has not been acknowledged. */
  get waitsForAck() {
    for (const speech of this.#speeches.values()) {
      const sent = speech.frames - (speech.finished ? 0 : 10);
      if (!speech.cancelled && !speech.receipt && sent > speech.ackedFrames) return true;
    }
    return false;
  }

  /** Begin an utterance; write Opus packets of 20 ms to it, then finish it. */
  speak() {
    const nowUs = Math.round(1000 * (performance.now() - this.#beganMs));
    const last = [...this.#speeches.values()].at(-1);
    const startUs = last ? Math.max(nowUs, last.startUs + last.durationUs) : nowUs;
    const speech = new Speech(this.#audio.append(), startUs, (changed) => {
      if (changed.cancelled) this.send({ type: "cancel", speech: changed.number });
      this.#dispatch("utterance", changed);
    });
    this.#speeches.set(speech.number, speech);
    if (this.#speeches.size > MAX_SPEECHES) {
      const settled = [...this.#speeches.values()].find((each) => each.receipt || each.cancelled);
      this.#speeches.delete((settled ?? this.#speeches.values().next().value).number);
    }
    this.#dispatch("utterance", speech);
    return speech;
  }

  /** Send the agent a message of the application's own, reliably, in order. */
  message(name, data = null) {
    const event = { type: "message", name, data };
    this.#unconfirmed.push({ event, ms: performance.now() });
    if (this.#unconfirmed.length > MAX_UNCONFIRMED) this.#unconfirmed.shift();
    this.send(event);
  }

  /** Tell how much of a response was really heard. */
  report(response, heard) {
    response.heard = heard;
    this.send({
      type: "heard",
      speech: response.number,
      heard_us: heard.heardUs,
      state: heard.state,
      silence_us: heard.silenceUs,
      underruns: heard.underruns,
      lead_us: heard.leadUs,
    });
    if (heard.state === "interrupted") this.#inbox.stop(response);
    this.#dispatch("progress", response);
  }

  /** Ask the agent to send no more of a response, where nothing plays it. */
  interrupt(response) {
    this.send({ type: "interrupt", speech: response.number });
    this.#inbox.stop(response);
  }

  /** Note that something happened for the first time. */
  mark(name) {
    if (name in this.marks) return;
    this.marks[name] = performance.now() - this.#beganMs;
    this.#dispatch("mark", { name, ms: this.marks[name] });
  }

  /** Write one event of the protocol. */
  send(event) {
    const payload = new TextEncoder().encode(JSON.stringify(event));
    if (payload.length > MAX_EVENT_BYTES) {
      throw new RangeError(`an event of ${payload.length} bytes, ${MAX_EVENT_BYTES} are allowed`);
    }
    if (this.#events.ended) return;
    if (!this.#eventGroup || this.#eventGroup.frames.length >= EVENTS_A_GROUP) {
      this.#eventGroup?.finish();
      this.#eventGroup = this.#events.append();
    }
    this.#eventGroup.write(payload, Math.round(1000 * (performance.now() - this.#beganMs)));
  }

  /** Try to connect again at once. */
  retry() {
    this.#line.hurry();
  }

  /** End the call: let what was said arrive for up to a second, then close. */
  async hangUp({ lastWordsMs = 1_000 } = {}) {
    const open = [...this.#speeches.values()].filter((each) => !each.cancelled);
    for (const speech of open) speech.finish();
    this.#eventGroup?.finish();
    for (const track of [this.#audio, this.#events]) track.end();
    const words = Promise.allSettled(open.map((speech) => speech.receipted));
    await Promise.race([words, new Promise((done) => setTimeout(done, lastWordsMs))]);
    this.#line.close();
    this.#inbox.close();
    this.responses.close();
    await this.ended;
  }

  async #attach(session) {
    this.mark("connected");
    if (++this.#attached > 1) this.#renew(session);
    this.reconnects = this.#attached - 1;
    // What is to be forgotten is forgotten before the agent can ask for it.
    session.start();
    void session.setup?.then(() => this.mark("setup"));
    const failed = (error) => {
      if (session.isClosed || error.code === StreamCode.SESSION_CLOSED) return;
      this.#dispatch("state", { state: this.state, error });
    };
    try {
      for await (const { path, active } of session.announced(this.id)) {
        if (path !== `${this.id}/agent` || !active) continue;
        this.mark("agent");
        await this.#inbox.read(session, path).catch(failed);
      }
    } catch (error) {
      failed(error);
    }
  }

  /** Go on over a new connection: only what the agent can't have is told again. */
  #renew(session) {
    this.#audio.dropSettled();
    this.#events.dropAll();
    this.#eventGroup = null;
    for (const { event } of this.#unconfirmed) this.send(event);
    this.#inbox.renew(session);
  }

  #begun(response) {
    this.mark("response");
    if (!this.responses.push(response)) this.interrupt(response);
    this.#dispatch("response", response);
  }

  #progress(response, last) {
    if (last) void response.receipt().then((receipt) => this.send(receipt));
    else this.send({ type: "ack", speech: response.number, frames: response.frames });
    this.#dispatch("progress", response);
  }

  #take(event) {
    // Whatever the agent says, it has heard what was sent a while before.
    const settledMs = performance.now() - 2_000;
    this.#unconfirmed = this.#unconfirmed.filter(({ ms }) => ms > settledMs);
    const speech = this.#speeches.get(event.speech);
    if (event.type === "ack") speech?.acknowledge(event.frames);
    else if (event.type === "receipt") void speech?.settle(event);
    else if (event.type === "interrupt") speech?.cancel();
    else if (event.type === "caption" || event.type === "message") this.#dispatch(event.type, event);
  }

  #tell(state, { error = null }) {
    this.state = state;
    this.#dispatch("state", { state, error });
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** hang's catalog of our audio, so that any hang player can listen in. */
function describe(track) {
  const config = {
    codec: "opus",
    container: { kind: "legacy" },
    sampleRate: 48_000,
    numberOfChannels: 1,
    bitrate: BITRATE,
    jitter: 20,
  };
  const group = track.append();
  const text = JSON.stringify({ audio: { renditions: { audio: config } } });
  group.write(new TextEncoder().encode(text), 0);
  group.finish();
}
