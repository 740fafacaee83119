/**
 * One call, caller's side: speak utterances, take responses, tell what was heard.
 *
 * A call outlives its connections. What is spoken while there is none is kept and sent first.
 * Over a new one the call goes on with a new leg, which carries what the agent lacks, as fast as
 * the path takes it, and nothing else (docs/voice-protocol.md, "Resuming").
 */

import { Origin } from "./broadcast.js";
import { Chain } from "./chain.js";
import { after, pause } from "./clock.js";
import { Refused, StreamCode } from "./errors.js";
import { Inbox } from "./inbox.js";
import { Ledger } from "./ledger.js";
import { Leg } from "./leg.js";
import { Line } from "./line.js";
import { Speech } from "./speech.js";
import { Queue } from "./streams.js";

const MAX_SPEECHES = 64;
const MAX_SPEECH_BYTES = 32 * 1024 * 1024;
const MAX_RESPONSES = 64;

/** Between two legs on one connection, for an agent that comes and goes. */
const LEG_PAUSE_MS = 250;

/** One `noted` for all events of a moment. */
const NOTE_AFTER_MS = 50;

/** For the last bytes to get on their way. */
const LEAVE_MS = 100;

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
  #chain = null;
  #speeches = new Map();
  #nextSpeech = 0;
  #ledger = new Ledger();
  #leg = null;
  /** The leg before, as long as what comes is written to both. */
  #former = null;
  #noting = null;
  /** The agent's own name for its side of the call. */
  #agentSession = "";
  /** The word with which it last asked for another leg. */
  #asked = "";
  #hungUp = false;
  #inbox;
  #line;

  /**
   * `dial(origin, originId, goaway)` opens a session (see dial.js); `goaway` is where the server
   * before asks to go, "" for elsewhere, null if none does.
   */
  constructor(dial) {
    super();
    this.#inbox = new Inbox({
      begun: (response) => this.#begun(response),
      progress: (response, last) => this.#progress(response, last),
      event: (event, leg) => this.#take(event, leg),
    });
    const originId = Number.parseInt(randomHex(6), 16) + 1;
    const made = Chain.make();
    this.#line = new Line({
      dial: async (goaway) => {
        this.#chain ??= await made;
        return dial(new Origin(), originId, goaway);
      },
      attach: (session, former) => void this.#attach(session, former),
      settled: (ms) => this.#settled(ms),
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
      if (speech.isOwed && sent > speech.ackedFrames) return true;
    }
    return false;
  }

  /** Begin an utterance; write Opus packets of 20 ms to it, then finish it. */
  speak() {
    const nowUs = Math.round(1000 * (performance.now() - this.#beganMs));
    const last = [...this.#speeches.values()].at(-1);
    const startUs = last ? Math.max(nowUs, last.startUs + last.durationUs) : nowUs;
    const speech = new Speech(this.#nextSpeech++, startUs, (changed) => {
      if (changed.cancelled) this.send({ type: "cancel", speech: changed.number });
      this.#dispatch("utterance", changed);
    });
    this.#speeches.set(speech.number, speech);
    this.#forget();
    for (const leg of this.#legs) leg.carry(speech, 0, { beside: leg !== this.#former });
    this.#dispatch("utterance", speech);
    return speech;
  }

  /** Send the agent a message of the application's own, reliably, in order. */
  message(name, data = null) {
    this.send({ type: "message", name, data });
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

  /** Send one event of the protocol; without a leg those that must not be lost wait for one. */
  send(event) {
    const entered = this.#ledger.enter(event, performance.now());
    for (const leg of this.#legs) leg.send(entered);
  }

  /** Try to connect again at once. */
  retry() {
    this.#line.hurry();
  }

  /** End the call: let what was said arrive for up to a second, then close. */
  async hangUp({ lastWordsMs = 1_000 } = {}) {
    const open = [...this.#speeches.values()].filter((each) => !each.cancelled);
    for (const speech of open) speech.finish();
    this.#hungUp = true;
    for (const leg of this.#legs) {
      leg.send({ type: "bye" });
      leg.end();
    }
    const words = Promise.allSettled(open.map((speech) => speech.receipted));
    // A closing connection drops what has not left yet, the `bye` for one.
    const left = Promise.all([words, this.session && pause(LEAVE_MS)]);
    await Promise.race([left, pause(lastWordsMs)]);
    this.#line.close();
    this.#inbox.close();
    this.responses.close();
    await this.ended;
  }

  /** The legs that are written to, the latest last. */
  get #legs() {
    return [this.#former, this.#leg].filter(Boolean);
  }

  /** Go on over a session; while `former` still stands, beside it. */
  async #attach(session, former) {
    this.mark("connected");
    this.reconnects += 1;
    // What is to be forgotten is forgotten before the agent can ask for it.
    let leg = this.#begin(session, { beside: former !== null && !former.isClosed });
    session.start();
    void session.setup?.then(() => this.mark("setup"));
    if (leg.number && this.#inbox.isGreeted) void this.#read(session, leg);
    try {
      for await (const { path, active } of session.announced(this.id)) {
        leg = this.#leg;
        if (leg.session !== session) continue; // we have moved on
        if (active && path.startsWith(leg.askingPath)) {
          // It came late, or came back: what it needs comes with the next leg.
          this.#asked = path.slice(leg.askingPath.length);
          void this.#follow(session, leg);
        }
        if (path !== leg.agentPath) continue;
        if (!active) {
          void this.#follow(session, leg);
          continue;
        }
        // Announced anew, it may be the same over another way.
        if (leg.announced) leg.reading = false;
        leg.announced = true;
        this.mark("agent");
        void this.#read(session, leg);
      }
    } catch (error) {
      this.#failed(session, error);
    } finally {
      if (this.#former?.session === session) this.#stay();
    }
  }

  /** Wait up to `ms` until the agent is there on the latest leg; then that is the only one. */
  async #settled(ms) {
    const leg = this.#leg;
    await leg.hello(ms);
    if (leg === this.#leg) this.#stay();
  }

  /** Write to the latest leg alone; the one before is withdrawn. */
  #stay() {
    const former = this.#former;
    if (!former) return;
    this.#former = null;
    for (const speech of this.#speeches.values()) speech.stay();
    former.withdraw();
  }

  /**
   * Begin the next leg: who we are, what we have, what is new, what is missing. With
   * `beside` the one before may still get somewhere, and is written to until the agent is here.
   */
  #begin(session, { beside = false } = {}) {
    const { isGreeted } = this.#inbox;
    const last = this.#leg;
    this.#stay();
    if (last) last.isLeft = true;
    if (beside) this.#former = last;
    else last?.withdraw();
    if (last && !isGreeted) this.#ledger.settle(-Infinity);
    const leg = new Leg(this.id, last ? last.number + 1 : 0, session);
    const owed = [...this.#speeches.values()].filter((speech) => speech.isOwed)
      .map((speech) => [speech, isGreeted ? Math.min(speech.ackedFrames, speech.frames) : 0]);
    leg.send({
      type: "hello",
      call: this.id,
      leg: leg.number,
      token: this.#chain.token(leg.number),
      shows: leg.number === 0,
      session: this.#agentSession,
      again: this.#asked,
      have: this.#inbox.have(),
      next: this.#inbox.next,
      from: owed.filter(([, from]) => from).map(([speech, from]) => [speech.number, from]),
      noted: this.#ledger.taken,
    });
    for (const event of this.#ledger.unnoted()) leg.send(event);
    for (const [speech, from] of owed) leg.carry(speech, from, { beside });
    this.#leg = leg;
    if (this.#hungUp) leg.end();
    leg.publish({ plain: !isGreeted });
    if (last && !isGreeted) this.#inbox.renew(session);
    return leg;
  }

  /** Read the agent's side of a leg. An agent that is lost without a `bye` may come back. */
  async #read(session, leg) {
    if (leg.reading) return;
    leg.reading = true;
    try {
      await this.#inbox.read(session, leg);
      leg.over = true;
    } catch (error) {
      leg.reading = false;
      // Before the announcement, a relay refuses what it does not know yet.
      if (error instanceof Refused && !leg.announced) return;
      if (this.#inbox.isGreeted && !(error instanceof Refused)) await this.#follow(session, leg);
      else this.#failed(session, error);
    }
  }

  /** Begin another leg on the same connection, for an agent that lost its own. */
  async #follow(session, leg) {
    await pause(LEG_PAUSE_MS);
    if (session.isClosed || this.#leg !== leg || leg.over || this.#hungUp) return;
    if (leg.number + 1 < this.#chain.length) this.#begin(session);
  }

  #failed(session, error) {
    if (session.isClosed || error.code === StreamCode.SESSION_CLOSED) return;
    this.#dispatch("state", { state: this.state, error });
  }

  /** Keep within the bounds: what the agent has goes first, then what is oldest. */
  #forget() {
    const kept = () => [...this.#speeches.values()];
    const bytes = () => kept().reduce((sum, speech) => sum + (speech.isOwed ? speech.bytes : 0), 0);
    while (this.#speeches.size > MAX_SPEECHES || bytes() > MAX_SPEECH_BYTES) {
      const [speech] = kept().sort((one, other) => one.isOwed - other.isOwed);
      speech.cancel();
      this.#speeches.delete(speech.number);
    }
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

  #take(event, leg) {
    if (event.type === "hello") {
      this.#greet(event, leg);
      return;
    }
    if (event.type === "noted") {
      this.#ledger.noted(event.n); // its `n` is one of ours
      return;
    }
    if (!this.#ledger.take(event)) return;
    if (typeof event.n === "number") this.#note();
    // Whatever an agent says that notes nothing, it has heard what was sent a while before.
    if (!this.#inbox.isGreeted) this.#ledger.settle(performance.now() - 2_000);
    const speech = this.#speeches.get(event.speech);
    if (event.type === "ack") speech?.acknowledge(event.frames);
    else if (event.type === "receipt") void speech?.settle(event);
    else if (event.type === "interrupt") speech?.cancel();
    else if (event.type === "bye") leg.over = true;
    this.#inbox.note(event);
    if (event.type === "caption" || event.type === "message") this.#dispatch(event.type, event);
  }

  /** Take the agent's `hello`; what is absent from it is 0, false or empty. */
  #greet(hello, leg) {
    const { session = "", have = [], next = 0, from = [], noted = 0, short = [] } = hello;
    this.#inbox.isGreeted = true;
    const isLost = this.#agentSession !== "" && session !== this.#agentSession;
    this.#agentSession = session;
    if (leg.number) this.#inbox.goOn({ isLost });
    if (isLost) this.#ledger.taken = 0; // it counts its events from 1 again
    this.#ledger.noted(noted);
    this.#nextSpeech = Math.max(this.#nextSpeech, next);
    for (const [number, frames] of have) {
      const speech = this.#speeches.get(number);
      if (speech) speech.acknowledge(Math.min(frames, speech.frames));
    }
    leg.greeted({ from, short });
    if (leg === this.#leg) this.#stay();
  }

  /** Have the agent forget what it has told; a moment later, for all that come at once. */
  #note() {
    this.#noting ??= after(NOTE_AFTER_MS, () => {
      this.#noting = null;
      for (const leg of this.#legs) leg.send({ type: "noted", n: this.#ledger.taken });
    });
  }

  #tell(state, { error = null }) {
    this.state = state;
    this.#dispatch("state", { state, error });
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
