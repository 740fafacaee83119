/**
 * One moq-lite session over WebTransport, both roles, versions 03 to 06.
 *
 * `transport` is anything with WebTransport's interface whose handshake is over, so that
 * another carrier can be put below without a change here.
 */

import {
  Refused, RemoteError, SessionClosed, SessionCode, StreamCode, StreamEnded,
} from "./errors.js";
import { FrameParser } from "./frames.js";
import { Publisher } from "./publisher.js";
import {
  Incoming, MAX_FRAME_BYTES, Outgoing, Queue, codeOf, resolvers, unattended,
} from "./streams.js";
import { joined } from "./broadcast.js";
import { concat, encodeVarint } from "./varint.js";
import * as wire from "./wire.js";

/** Groups of one subscription that nobody has taken yet; further ones are refused. */
const MAX_WAITING_GROUPS = 256;

/** How long after a track's end its last groups may come. */
const STRAGGLERS_MS = 5_000;

/** Announcements that one watch holds. */
const MAX_ANNOUNCEMENTS = 4096;

/** A group on its way in; iterate it for `{ payload, timestamp }`. */
class ReceivedGroup {
  #incoming;
  #parser;

  constructor(header, incoming, version) {
    this.sequence = header.sequence;
    this.frameStart = header.frameStart;
    this.#incoming = incoming;
    this.#parser = new FrameParser(version, MAX_FRAME_BYTES);
  }

  /** Want no more of it. */
  stop(code = StreamCode.CANCELLED) {
    this.#incoming.cancel(code);
  }

  /** Throws StreamEnded when the peer gave it up or the session ended. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      let bytes;
      try {
        bytes = await this.#incoming.chunk();
      } catch (error) {
        throw new StreamEnded(codeOf(error));
      }
      if (bytes === null) break;
      yield* this.#parser.feed(bytes);
      if (this.#parser.failed !== null) {
        this.stop(this.#parser.failed);
        throw new StreamEnded(this.#parser.failed, "a frame that breaks the protocol");
      }
    }
    if (this.#parser.buffered) throw new StreamEnded(StreamCode.CANCELLED, "half a frame");
  }
}

/** A track on its way in; iterate it for groups, in the order they come. */
class Subscription {
  groups = new Queue(MAX_WAITING_GROUPS);
  /** Timer that ends it, once its publisher has. */
  stragglers;
  #accepted = resolvers();

  constructor(number, cancel) {
    this.number = number;
    this.cancel = cancel;
    unattended(this.#accepted.promise);
  }

  /** Resolves when the peer took it, throws Refused. */
  get accepted() {
    return this.#accepted.promise;
  }

  [Symbol.asyncIterator]() {
    return this.groups[Symbol.asyncIterator]();
  }

  accept() {
    this.#accepted.resolve();
  }

  end(error = null) {
    this.#accepted.reject(error ?? new Refused(StreamCode.CANCELLED, "ended unanswered"));
    this.groups.close(error);
  }
}

/** One moq-lite session, client's side, that publishes and subscribes. */
export class Session {
  /** When bytes last came, on `performance.now()`'s clock. */
  lastHeardMs = performance.now();
  /** The peer's latest estimate of the round trip, 0 before the first. */
  rttMs = 0;
  /** Where the peer asks to move to, "" for elsewhere; null until it does. */
  goaway = null;
  #subscriptions = new Map();
  #numbers = 0;
  #publisher;
  #closed = resolvers();
  #isClosed = false;
  #peerSetup = resolvers();
  #asked = resolvers();

  /** `origin` is what we publish (see broadcast.js); `originId` names us in routes. */
  constructor(transport, version, origin, { originId = 0 } = {}) {
    this.transport = transport;
    this.version = version;
    this.origin = origin;
    this.originId = originId;
    this.#publisher = new Publisher(this, origin);
  }

  /** Resolves with a SessionClosed once the session is over. */
  get closed() {
    return this.#closed.promise;
  }

  get isClosed() {
    return this.#isClosed;
  }

  /** Resolves when the peer asks to move (GOAWAY); see `goaway`. */
  get askedToMove() {
    return this.#asked.promise;
  }

  /** Resolves when the peer's SETUP came; null in versions without one. */
  get setup() {
    return this.version.setup ? this.#peerSetup.promise : null;
  }

  /** Begin to serve and to listen. */
  start() {
    if (this.version.setup) this.#attend(this.#sendSetup());
    this.#attend(this.#acceptBidi());
    this.#attend(this.#acceptUni());
    this.#attend(this.#probe());
    this.transport.closed.then(
      (info) => this.#over(new SessionClosed(info?.closeCode ?? 0, info?.reason ?? "")),
      (error) => this.#over(new SessionClosed(SessionCode.INTERNAL, error?.message ?? "")),
    );
  }

  close(code = SessionCode.NO_ERROR, reason = "") {
    if (this.#isClosed) return;
    try {
      this.transport.close({ closeCode: code, reason });
    } catch {
      // It is closed already.
    }
    this.#over(new SessionClosed(code, reason));
  }

  /** Watch what the peer publishes: `{ path, active }`, until the session ends. */
  async *announced(prefix = "") {
    const { version } = this;
    const request = { prefix, excludeHop: this.originId };
    const { incoming, outgoing } = await this.#ask(
      wire.BidiType.ANNOUNCE, wire.encode(wire.AnnounceRequest, request, version),
    );
    try {
      if (version.announceOk) {
        const ok = await incoming.message();
        if (ok === null) return;
        wire.decode(wire.AnnounceOk, ok, version);
      }
      yield* this.#announcements(incoming, prefix);
    } catch (error) {
      throw this.#failure(error);
    } finally {
      incoming.cancel(StreamCode.CANCELLED);
      outgoing.abort(StreamCode.CANCELLED);
    }
  }

  /** Ask for a track; see `Subscription`. */
  subscribe(broadcast, track, wishes = {}) {
    const asked = {
      priority: 128, ordered: false, maxAgeMs: 0, groupStart: null, groupEnd: null,
      frameStart: 0, frameEnd: null, ...wishes,
    };
    const number = this.#numbers++;
    const aborter = new AbortController();
    const subscription = new Subscription(number, () => aborter.abort());
    this.#subscriptions.set(number, subscription);
    const fields = { number, broadcast, track, wishes: asked };
    const message = wire.encode(wire.Subscribe, fields, this.version);
    this.#attend(this.#follow(subscription, message, aborter.signal));
    return subscription;
  }

  async #follow(subscription, message, signal) {
    let stream = null;
    const cancel = () => {
      stream?.incoming.cancel(StreamCode.CANCELLED);
      stream?.outgoing.abort(StreamCode.CANCELLED);
      this.#forget(subscription, null);
    };
    signal.addEventListener("abort", cancel);
    try {
      stream = await this.#ask(wire.BidiType.SUBSCRIBE, message);
      if (signal.aborted) return cancel();
      const kinds = wire.repliesOf(this.version);
      for (let reply; (reply = await stream.incoming.typed()) !== null; ) {
        const [kind] = wire.decodeTyped(kinds, reply, this.version);
        if (kind === wire.SubscribeOk || kind === wire.SubscribeStart) subscription.accept();
        if (kind === wire.SubscribeEnd) subscription.accept();
      }
      await stream.outgoing.close();
      if (this.#isClosed) return undefined;
      // Groups that are under way come behind the end.
      subscription.stragglers = setTimeout(() => this.#forget(subscription, null), STRAGGLERS_MS);
    } catch (error) {
      this.#forget(subscription, signal.aborted ? null : this.#failure(error));
      if (error instanceof RemoteError) throw error;
    }
    return undefined;
  }

  #forget(subscription, error) {
    this.#subscriptions.delete(subscription.number);
    clearTimeout(subscription.stragglers);
    for (const group of subscription.groups.clear()) group.stop();
    subscription.end(error);
  }

  async *#announcements(incoming, prefix) {
    const { version } = this;
    const numbers = new Map();
    let started = 0;
    for (;;) {
      const unit = await (version.announceTyped ? incoming.typed() : incoming.message());
      if (unit === null) return;
      if (!version.announceTyped) {
        const { status, suffix } = wire.decode(wire.AnnounceBroadcast, unit, version);
        yield { path: joined(prefix, suffix), active: status !== 0 };
        continue;
      }
      const [kind, fields] = wire.decodeTyped(wire.ANNOUNCING, unit, version);
      if (kind === wire.AnnounceStart) {
        const path = joined(prefix, fields.suffix);
        numbers.set(started++, path);
        if (numbers.size > MAX_ANNOUNCEMENTS) throw new Refused(StreamCode.EXCESSIVE_LOAD);
        yield { path, active: true };
      } else if (kind === wire.AnnounceEnd) {
        const path = numbers.get(fields.number);
        numbers.delete(fields.number);
        if (path !== undefined) yield { path, active: false };
      }
    }
  }

  async #ask(type, message) {
    const stream = await this.transport.createBidirectionalStream();
    const outgoing = new Outgoing(stream.writable);
    const incoming = this.#incoming(stream.readable);
    await outgoing.write(concat([encodeVarint(type), message]));
    return { incoming, outgoing };
  }

  async #sendSetup() {
    const setup = wire.encode(wire.Setup, { origin: this.originId }, this.version);
    const outgoing = new Outgoing(await this.transport.createUnidirectionalStream());
    await outgoing.write(concat([encodeVarint(wire.UniType.SETUP), setup]));
    await outgoing.close();
  }

  /** Have the peer tell its round trip now and then; that also shows it is alive. */
  async #probe() {
    if (this.version.probeLevel && !(await this.#peerSetup.promise).probe) return;
    const { incoming } = await this.#ask(wire.BidiType.PROBE, new Uint8Array(0));
    for (let body; (body = await incoming.message()) !== null; ) {
      const { rttMs } = wire.decode(wire.Probe, body, this.version);
      if (rttMs) this.rttMs = rttMs;
    }
  }

  async #acceptBidi() {
    for await (const stream of streamsOf(this.transport.incomingBidirectionalStreams)) {
      this.#attend(this.#serve(stream));
    }
  }

  async #acceptUni() {
    for await (const readable of streamsOf(this.transport.incomingUnidirectionalStreams)) {
      this.#attend(this.#take(readable));
    }
  }

  async #serve({ readable, writable }) {
    const incoming = this.#incoming(readable);
    const outgoing = new Outgoing(writable);
    const type = await incoming.varint();
    if (type !== wire.BidiType.GOAWAY) return this.#publisher.serve(type, incoming, outgoing);
    const body = await incoming.message();
    if (body !== null) this.goaway = wire.decode(wire.Goaway, body, this.version).uri;
    if (body !== null) this.#asked.resolve();
    return undefined;
  }

  async #take(readable) {
    const incoming = this.#incoming(readable);
    const type = await incoming.varint();
    const body = type === null ? null : await incoming.message();
    if (body === null) return;
    if (type === wire.UniType.SETUP && this.version.setup) {
      this.#peerSetup.resolve(wire.decode(wire.Setup, body, this.version));
      return;
    }
    if (type !== wire.UniType.GROUP) {
      incoming.cancel(StreamCode.UNSUPPORTED);
      return;
    }
    const header = wire.decode(wire.GroupHeader, body, this.version);
    const group = new ReceivedGroup(header, incoming, this.version);
    const subscription = this.#subscriptions.get(header.subscription);
    if (!subscription?.groups.push(group)) group.stop();
  }

  #incoming(readable) {
    return new Incoming(readable, () => {
      this.lastHeardMs = performance.now();
    });
  }

  #failure(error) {
    if (error instanceof Refused || error instanceof RemoteError) return error;
    const code = codeOf(error);
    return code === StreamCode.SESSION_CLOSED ? new StreamEnded(code) : new Refused(code);
  }

  /** Let something run; a broken protocol closes the session, all else concerns one stream. */
  #attend(running) {
    running.catch((error) => {
      if (error instanceof RemoteError) this.close(error.code, error.message);
    });
  }

  #over(closed) {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const subscription of [...this.#subscriptions.values()]) {
      this.#forget(subscription, new StreamEnded(StreamCode.SESSION_CLOSED));
    }
    this.#closed.resolve(closed);
  }
}

async function* streamsOf(readable) {
  const reader = readable.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}
