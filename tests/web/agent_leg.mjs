/** An agent's end of a call, leg by leg, for tests of what crosses from one to the next. */

import assert from "node:assert/strict";

import { Broadcast, Origin } from "../../client/web/broadcast.js";
import { Call } from "../../client/web/call.js";
import { Unavailable } from "../../client/web/errors.js";
import { decodeLegacy, encodeLegacy } from "../../client/web/frames.js";
import { Session } from "../../client/web/session.js";
import { concat, encodeVarint } from "../../client/web/varint.js";
import { versionOf } from "../../client/web/version.js";
import * as wire from "../../client/web/wire.js";
import { hungUpAfter } from "./hanging_up.mjs";
import { pair } from "./memory_transport.mjs";

export const VERSION = versionOf("moq-lite-06");
export const WISHES = { priority: 80, ordered: true, maxAgeMs: 600_000 };
export const packet = (mark) => Uint8Array.of(0xf8, mark >> 8, mark & 0xff);
export const range = (from, to) => Array.from({ length: to - from }, (_, at) => from + at);
export const pause = (ms = 10) => new Promise((done) => setTimeout(done, ms));

export async function until(condition, what) {
  for (let left = 400; left > 0; left--) {
    if (condition()) return;
    await pause();
  }
  assert.fail(`never came: ${what}`);
}

export const markOf = (payload) => {
  const { packet: bytes } = decodeLegacy(payload);
  return (bytes[1] << 8) | bytes[2];
};

/** An agent's end of one leg; what it is told it keeps, and it says what a test has it say. */
export class AgentLeg {
  audio = new Map();
  past = new Map();
  events = [];
  hello = null;

  constructor(transport) {
    this.transport = transport;
    this.origin = new Origin();
    this.session = new Session(transport, VERSION, this.origin, { originId: 9 });
    this.session.start();
    void this.watch().catch(() => {});
  }

  async watch() {
    for await (const { path, active } of this.session.announced()) {
      if (active) this.meet(path);
    }
  }

  meet(path) {
    this.path = path;
    this.broadcast = new Broadcast();
    this.voice = this.broadcast.createTrack("audio", { priority: 80, ...WISHES });
    this.out = this.broadcast.createTrack("events", { priority: 120, ...WISHES }).append();
    void this.read(path, "audio", (group, payload) => this.keep(this.audio, group, payload));
    void this.read(path, "events", (_, payload) => this.take(payload));
  }

  readPast() {
    return this.read(this.path, "past", (group, payload) => this.keep(this.past, group, payload));
  }

  keep(where, { sequence }, payload) {
    where.set(sequence, [...(where.get(sequence) ?? []), markOf(payload)]);
  }

  take(payload) {
    const event = JSON.parse(new TextDecoder().decode(payload));
    if (event.type === "hello") this.hello = event;
    else this.events.push(event);
  }

  async read(path, track, take) {
    const reading = async (group) => {
      for await (const { payload } of group) take(group, payload);
    };
    try {
      for await (const group of this.session.subscribe(path, track, WISHES)) {
        void reading(group).catch(() => {});
      }
    } catch {
      // The connection is lost.
    }
  }

  /** Say hello, then answer under the leg's name. */
  greet({ session = "one", ...more } = {}) {
    this.tell({ type: "hello", session, grace_ms: 60_000, ...more });
    this.origin.publish(this.path.replace(/caller$/, "agent"), this.broadcast);
  }

  tell(event) {
    this.out.write(new TextEncoder().encode(JSON.stringify(event)), 0);
  }

  /** Ask the caller to move, as a relay that drains does. */
  async goaway(uri = "") {
    const { writable } = await this.transport.createBidirectionalStream();
    const message = wire.encode(wire.Goaway, { uri, timeoutMs: 20_000 }, VERSION);
    await writable.getWriter().write(concat([encodeVarint(wire.BidiType.GOAWAY), message]));
  }

  respond(number, marks) {
    const group = this.voice.create(number);
    for (const mark of marks) group.write(encodeLegacy(mark * 20_000, packet(mark)), 0);
    return group;
  }

  numbered(type) {
    return this.events.filter((event) => event.type === type).map(({ n }) => n);
  }
}

/** A call, and the legs of its agent; `refuse(goaway)` tells which dials find nobody. */
export function scene({ refuse = () => false } = {}) {
  const legs = [];
  const call = hungUpAfter(new Call(async (origin, originId, goaway) => {
    if (refuse(goaway)) throw new Unavailable("network", "nothing answers");
    const [near, far] = pair();
    legs.push(new AgentLeg(far));
    return new Session(near, VERSION, origin, { originId });
  }));
  const leg = async (number) => {
    await until(() => legs[number]?.hello, `hello of leg ${number}`);
    return legs[number];
  };
  return { call, leg };
}

export async function speaking(call, marks) {
  const speech = call.speak();
  for (const mark of marks) speech.write(packet(mark));
  return speech;
}
