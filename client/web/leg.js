/**
 * One leg of a call: the broadcast that carries what is missing over one connection, until the
 * next leg takes over (docs/voice-protocol.md, "Resuming").
 */

import { Broadcast } from "./broadcast.js";
import { after } from "./clock.js";
import { Refused, StreamCode } from "./errors.js";
import { resolvers } from "./streams.js";

const EVENTS_A_GROUP = 1_024;
const MAX_EVENT_BYTES = 64 * 1024;
const BITRATE = 24_000;
const KEPT = { ordered: true, maxAgeMs: 600_000 };

/** Tracks below this are on a call's first leg until an agent has said hello. */
const UNANSWERED = "unanswered/";

const utf8 = new TextEncoder();

/**
 * A first leg's tracks, which also tell whether an agent was there before: one that comes late
 * asks for an `unanswered/` track of a random name, which no relay can have kept.
 */
class FirstBroadcast extends Broadcast {
  answered = false;
  #unanswered = this.createTrack(UNANSWERED, { priority: 60 });

  find(name) {
    if (!name.startsWith(UNANSWERED)) return super.find(name);
    if (this.answered) throw new Refused(StreamCode.CANCELLED, "an agent was here");
    return this.#unanswered;
  }
}

/** One leg of a call, caller's side: the broadcast that it sends, and what it waits for. */
export class Leg {
  /** Whether the agent's broadcast was announced, whether it is read. */
  announced = false;
  reading = false;
  /** The agent said `bye`, or ended its tracks in order. */
  over = false;
  /** The call goes on with a later leg. */
  isLeft = false;
  #audio;
  #past;
  #events;
  #group = null;
  #hello = resolvers();

  /** `session` is the connection that it is for. */
  constructor(call, number, session) {
    this.call = call;
    this.session = session;
    this.number = number;
    this.beganMs = performance.now();
    this.broadcast = number ? new Broadcast() : new FirstBroadcast();
    this.#audio = this.broadcast.createTrack("audio", { priority: 80, ...KEPT });
    this.#events = this.broadcast.createTrack("events", { priority: 120, ...KEPT });
    describe(this.broadcast.createTrack("catalog.json", { priority: 100 }));
    if (number > 0) this.#past = this.broadcast.createTrack("past", { priority: 60, ...KEPT });
  }

  get #base() {
    return this.number ? `${this.call}/${this.number}` : this.call;
  }

  get path() {
    return `${this.#base}/caller`;
  }

  get agentPath() {
    return `${this.#base}/agent`;
  }

  /** Below this an agent announces a word of its own to ask for the next leg. */
  get askingPath() {
    return `${this.#base}/again/`;
  }

  /** Resolves with the agent's `hello`, or null if it has not said it within `ms`. */
  async hello(ms) {
    let cancel;
    const late = new Promise((done) => (cancel = after(ms, () => done(null))));
    const hello = await Promise.race([this.#hello.promise, late]);
    cancel();
    return hello;
  }

  greeted(hello) {
    this.broadcast.answered = true;
    this.#hello.resolve(hello);
  }

  /** Where the other side finds the leg; `plain` also under the name of a call's beginning. */
  publish({ plain }) {
    const { origin } = this.session;
    origin.publish(this.path, this.broadcast);
    if (this.number > 0) origin.publish("resumed", this.broadcast, { hidden: true });
    if (plain) origin.publish("caller", this.broadcast, { hidden: true });
  }

  withdraw() {
    const { origin } = this.session;
    for (const path of [this.path, "resumed", "caller"]) origin.withdraw(path);
  }

  /**
   * Carry a speech from frame `from` on, and what was before it for an agent that lost it; with
   * `beside`, what comes of it goes to the leg before as well.
   */
  carry(speech, from, { beside = false } = {}) {
    if (from > 0) {
      const past = this.#past.create(speech.number);
      for (const { payload, timestampUs } of speech.kept(0, from)) past.write(payload, timestampUs);
      past.finish();
    }
    speech.attach(this.#audio.create(speech.number), from, { beside });
  }

  /** Write one event. */
  send(event) {
    const payload = utf8.encode(JSON.stringify(event));
    if (payload.length > MAX_EVENT_BYTES) {
      throw new RangeError(`an event of ${payload.length} bytes, ${MAX_EVENT_BYTES} are allowed`);
    }
    if (this.#events.ended) return;
    if (!this.#group || this.#group.frames.length >= EVENTS_A_GROUP) {
      this.#group?.finish();
      this.#group = this.#events.append();
    }
    this.#group.write(payload, Math.round(1000 * (performance.now() - this.beganMs)));
  }

  /** Nothing more will be said on it. */
  end() {
    this.#group?.finish();
    for (const track of [this.#audio, this.#events, this.#past]) track?.end();
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
  group.write(utf8.encode(JSON.stringify({ audio: { renditions: { audio: config } } })), 0);
  group.finish();
}
