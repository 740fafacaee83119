/**
 * Answers the peer's requests: announcements, subscriptions, fetches and track facts
 * (draft-lcurley-moq-lite, sections "Announce" to "Fetch").
 */

import { RemoteError, StreamCode, violation } from "./errors.js";
import { encodeFrameHeader } from "./frames.js";
import { Incoming, Outgoing, codeOf, unattended } from "./streams.js";
import { concat, encodeVarint } from "./varint.js";
import * as wire from "./wire.js";

/** Requests of the peer's that are served at a time; further ones are refused. */
const MAX_REQUESTS = 256;

/** Answers the peer's subscriptions from an `Origin`. */
export class Publisher {
  #session;
  #origin;
  #live = 0;

  /** `session` gives `version`, `transport`, `originId` and `closed`; `origin` what there is. */
  constructor(session, origin) {
    this.#session = session;
    this.#origin = origin;
  }

  /** Serve one request stream whose type has been read. */
  async serve(type, incoming, outgoing) {
    const serve = {
      [wire.BidiType.ANNOUNCE]: () => this.#announce(incoming, outgoing),
      [wire.BidiType.SUBSCRIBE]: () => this.#subscribe(incoming, outgoing),
      [wire.BidiType.FETCH]: () => this.#fetch(incoming, outgoing),
      [wire.BidiType.TRACK]: () => this.#describe(incoming, outgoing),
    }[type];
    if (!serve || this.#live >= MAX_REQUESTS) {
      refuse(incoming, outgoing, serve ? StreamCode.EXCESSIVE_LOAD : StreamCode.UNSUPPORTED);
      return;
    }
    this.#live += 1;
    try {
      await serve();
    } catch (error) {
      refuse(incoming, outgoing, codeOf(error));
      if (error instanceof RemoteError) throw error;
    } finally {
      this.#live -= 1;
    }
  }

  async #request(kind, incoming) {
    const body = await incoming.message();
    if (body === null) throw violation("a request stream without a request");
    return wire.decode(kind, body, this.#session.version);
  }

  async #announce(incoming, outgoing) {
    const { version, originId } = this.#session;
    const { prefix } = await this.#request(wire.AnnounceRequest, incoming);
    const told = new Map();
    const gone = over(incoming);
    let started = 0;
    const news = () => {
      const messages = [];
      const now = new Set(this.#origin.below(prefix));
      for (const [suffix, number] of told) {
        if (now.has(suffix)) continue;
        told.delete(suffix);
        messages.push(ended(version, suffix, number));
      }
      for (const suffix of now) {
        if (told.has(suffix)) continue;
        told.set(suffix, started++);
        messages.push(begun(version, suffix, originId));
      }
      return messages;
    };
    const first = news();
    if (version.announceOk) {
      const ok = { hop: originId, active: first.length };
      first.unshift(wire.encode(wire.AnnounceOk, ok, version));
    }
    if (first.length) await outgoing.write(concat(first));
    while (!gone.done) {
      await Promise.race([this.#origin.changed.wait(), gone.wait]);
      const messages = gone.done ? [] : news();
      if (messages.length) await outgoing.write(concat(messages));
    }
    await outgoing.close();
  }

  async #describe(incoming, outgoing) {
    const { version } = this.#session;
    const { broadcast, track } = await this.#request(wire.Track, incoming);
    const found = this.#origin.get(broadcast)?.find(track);
    if (!found) {
      refuse(incoming, outgoing, StreamCode.NOT_FOUND);
      return;
    }
    await outgoing.write(wire.encode(wire.TrackInfo, { info: found.info }, version));
    await outgoing.close();
  }

  async #fetch(incoming, outgoing) {
    const request = await this.#request(wire.Fetch, incoming);
    const track = this.#origin.get(request.broadcast)?.find(request.track);
    const group = track?.get(request.group);
    if (!group) {
      refuse(incoming, outgoing, StreamCode.NOT_FOUND);
      return;
    }
    const gone = over(incoming, { finIsGone: false });
    await this.#frames(group, outgoing, gone, request);
  }

  async #subscribe(incoming, outgoing) {
    const { version } = this.#session;
    const request = await this.#request(wire.Subscribe, incoming);
    const track = this.#origin.get(request.broadcast)?.find(request.track);
    if (!track) {
      refuse(incoming, outgoing, StreamCode.NOT_FOUND);
      return;
    }
    const gone = over(incoming);
    if (!version.endMessage) {
      const kinds = wire.repliesOf(version);
      await outgoing.write(wire.encodeTyped(kinds, wire.SubscribeOk, track.info, version));
    }
    const sending = await this.#groups(track, request, outgoing, gone);
    await Promise.all(sending);
    if (gone.done) return;
    if (version.endMessage) {
      const kinds = wire.repliesOf(version);
      await outgoing.write(wire.encodeTyped(kinds, wire.SubscribeEnd, { group: track.next }, version));
    }
    await outgoing.close();
  }

  /** Open a stream for each group wanted until the track or the interest in it ends. */
  async #groups(track, request, outgoing, gone) {
    const { version } = this.#session;
    const { groupEnd } = request.wishes;
    const sending = new Set();
    let next = track.firstWanted(request.wishes);
    let begun = !version.endMessage;
    while (!gone.done && !(groupEnd !== null && next > groupEnd)) {
      for (const group of track.since(next)) {
        if (groupEnd !== null && group.sequence > groupEnd) break;
        if (!begun) {
          begun = true;
          const kinds = wire.repliesOf(version);
          const start = { group: group.sequence };
          await outgoing.write(wire.encodeTyped(kinds, wire.SubscribeStart, start, version));
        }
        next = group.sequence + 1;
        const sent = this.#send(group, request, track, gone).finally(() => sending.delete(sent));
        sending.add(sent);
      }
      if (track.ended) break;
      await Promise.race([track.changed.wait(), gone.wait]);
    }
    return sending;
  }

  async #send(group, request, track, gone) {
    const { version, transport } = this.#session;
    let outgoing = null;
    try {
      // Higher goes first: by track, and within an ordered track the older group.
      const sendOrder = request.wishes.priority * 2 ** 20 - (group.sequence % 2 ** 20);
      outgoing = new Outgoing(await transport.createUnidirectionalStream({ sendOrder }));
      const header = { subscription: request.number, sequence: group.sequence, frameStart: 0 };
      const type = encodeVarint(wire.UniType.GROUP);
      await outgoing.write(concat([type, wire.encode(wire.GroupHeader, header, version)]));
      await this.#frames(group, outgoing, gone);
    } catch (error) {
      // The peer wants no more of this group, or the session is over: the track goes on.
      outgoing?.abort(codeOf(error));
    }
  }

  async #frames(group, outgoing, gone, { frameStart = 0, frameEnd = null } = {}) {
    let previous = this.#session.version.timestamps ? 0 : null;
    for (let at = frameStart; frameEnd === null || at <= frameEnd; ) {
      if (gone.done || group.abortCode !== null) {
        outgoing.abort(group.abortCode ?? StreamCode.CANCELLED);
        return;
      }
      const parts = [];
      for (; at < group.frames.length && (frameEnd === null || at <= frameEnd); at++) {
        const { payload, timestamp } = group.frames[at];
        parts.push(encodeFrameHeader(payload.length, timestamp, previous), payload);
        if (previous !== null) previous = timestamp;
      }
      if (parts.length) await outgoing.write(concat(parts));
      else if (group.finished) break;
      else await Promise.race([group.changed.wait(), gone.wait, outgoing.lost]);
    }
    await outgoing.close();
  }
}

function refuse(incoming, outgoing, code) {
  incoming.cancel(code);
  outgoing.abort(code);
}

/** Watches for the end of the peer's side: `{ done, wait }`. Updates are passed over. */
function over(incoming, { finIsGone = true } = {}) {
  const state = { done: false };
  state.wait = (async () => {
    try {
      while ((await incoming.message()) !== null);
      if (!finIsGone) await new Promise(() => {});
    } catch {
      // A reset says the same as an end.
    }
    state.done = true;
  })();
  unattended(state.wait);
  return state;
}

function begun(version, suffix, originId) {
  if (version.announceTyped) {
    const start = { suffix, hops: [], warmCost: 0, coldCost: 0 };
    return wire.encodeTyped(wire.ANNOUNCING, wire.AnnounceStart, start, version);
  }
  const hops = version.announceOk ? [] : [originId];
  return wire.encode(wire.AnnounceBroadcast, { status: 1, suffix, hops }, version);
}

function ended(version, suffix, number) {
  if (version.announceTyped) {
    return wire.encodeTyped(wire.ANNOUNCING, wire.AnnounceEnd, { number }, version);
  }
  return wire.encode(wire.AnnounceBroadcast, { status: 0, suffix, hops: [] }, version);
}
