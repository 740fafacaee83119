/**
 * moq-lite messages, versions 03 to 06 (draft-lcurley-moq-lite; shipped version 06 has two
 * costs in its announcements). The same rules as moqvox/wire/lite, from the same vectors.
 *
 * A message kind is `{ write(out, fields, version), read(body, version) }`; fields are plain
 * objects.
 */

import { violation } from "./errors.js";
import { Reader, Writer, concat, encodeVarint } from "./varint.js";

/** The first number on a bidirectional stream. */
export const BidiType = Object.freeze({
  ANNOUNCE: 0x1,
  SUBSCRIBE: 0x2,
  FETCH: 0x3,
  PROBE: 0x4,
  GOAWAY: 0x5,
  TRACK: 0x6,
});

/** The first number on a unidirectional stream. */
export const UniType = Object.freeze({ GROUP: 0x0, SETUP: 0x1 });

const MAX_COUNTED_HOPS = 1024;
const MAX_PARAMETERS = 64;
const MAX_URI_BYTES = 8192;
const ParameterId = Object.freeze({ PROBE: 1, PATH: 2, ROLE: 3, COST: 4, ORIGIN: 5 });

/** Encode a message with its size in front. */
export function encode(kind, fields, version) {
  const out = new Writer();
  kind.write(out, fields, version);
  const body = out.bytes();
  return concat([encodeVarint(body.length), body]);
}

/** Decode a whole body; throws a violation for missing or left-over bytes. */
export function decode(kind, body, version) {
  const reader = new Reader(body);
  const fields = kind.read(reader, version);
  reader.finish();
  return fields;
}

export const AnnounceRequest = {
  write(out, { prefix, excludeHop = 0 }, version) {
    out.text(prefix);
    if (version.excludeHop) out.varint(excludeHop);
  },
  read(body, version) {
    return { prefix: body.text(), excludeHop: version.excludeHop ? body.varint() : 0 };
  },
};

export const AnnounceOk = {
  write(out, { hop, active }) {
    out.varint(hop);
    out.varint(active);
  },
  read(body) {
    return { hop: body.varint(), active: body.varint() };
  },
};

/** The unnumbered form: status 0 ended, 1 active, 2 restarted. */
export const AnnounceBroadcast = {
  write(out, { status, suffix, hops = [] }, version) {
    out.u8(status);
    out.text(suffix);
    if (version.hopLists) out.varints(hops);
    else out.varint(hops.length);
  },
  read(body, version) {
    const status = body.u8();
    const known = version.announceReplaces ? 2 : 1;
    if (status > known) {
      throw violation(`an announcement of status ${status}, 0 to ${known} are known`);
    }
    const suffix = body.text();
    if (version.hopLists) return { status, suffix, hops: body.varints() };
    const count = body.varint();
    if (count > MAX_COUNTED_HOPS) {
      throw violation(`${count} hops, ${MAX_COUNTED_HOPS} are allowed`);
    }
    return { status, suffix, hops: new Array(count).fill(0) };
  },
};

export const AnnounceStart = {
  write(out, { suffix, hops = [], warmCost = 0, coldCost = 0 }) {
    out.text(suffix);
    out.varints(hops);
    out.varint(warmCost);
    out.varint(coldCost);
  },
  read(body) {
    const suffix = body.text();
    const hops = body.varints();
    return { suffix, hops, warmCost: body.varint(), coldCost: body.varint() };
  },
};

export const AnnounceEnd = {
  write: (out, { number }) => out.varint(number),
  read: (body) => ({ number: body.varint() }),
};

export const AnnounceUpdate = {
  write(out, { number, hops = [], warmCost = 0, coldCost = 0 }) {
    out.varint(number);
    out.varints(hops);
    out.varint(warmCost);
    out.varint(coldCost);
  },
  read(body) {
    const number = body.varint();
    const hops = body.varints();
    return { number, hops, warmCost: body.varint(), coldCost: body.varint() };
  },
};

function writeWishes(out, wishes, version) {
  out.u8(wishes.priority);
  if (version.orderedField) out.flag(wishes.ordered);
  out.varint(wishes.maxAgeMs);
  if (version.startIsFloor) out.varint(wishes.groupStart ?? 0);
  else out.optional(wishes.groupStart);
  out.optional(wishes.groupEnd);
  if (version.frameRanges) {
    out.varint(wishes.frameStart ?? 0);
    out.optional(wishes.frameEnd);
  }
}

function readWishes(body, version) {
  return {
    priority: body.u8(),
    ordered: version.orderedField ? body.flag() : false,
    maxAgeMs: body.varint(),
    groupStart: version.startIsFloor ? body.varint() || null : body.optional(),
    groupEnd: body.optional(),
    frameStart: version.frameRanges ? body.varint() : 0,
    frameEnd: version.frameRanges ? body.optional() : null,
  };
}

export const Subscribe = {
  write(out, { number, broadcast, track, wishes }, version) {
    out.varint(number);
    out.text(broadcast);
    out.text(track);
    writeWishes(out, wishes, version);
  },
  read(body, version) {
    const [number, broadcast, track] = [body.varint(), body.text(), body.text()];
    return { number, broadcast, track, wishes: readWishes(body, version) };
  },
};

export const SubscribeUpdate = {
  write: (out, { wishes }, version) => writeWishes(out, wishes, version),
  read: (body, version) => ({ wishes: readWishes(body, version) }),
};

export const SubscribeOk = {
  write(out, { priority, ordered, maxAgeMs, groupStart = null, groupEnd = null }) {
    out.u8(priority);
    out.flag(ordered);
    out.varint(maxAgeMs);
    out.optional(groupStart);
    out.optional(groupEnd);
  },
  read(body) {
    return {
      priority: body.u8(),
      ordered: body.flag(),
      maxAgeMs: body.varint(),
      groupStart: body.optional(),
      groupEnd: body.optional(),
    };
  },
};

const oneGroup = {
  write: (out, { group }) => out.varint(group),
  read: (body) => ({ group: body.varint() }),
};
export const SubscribeStart = { ...oneGroup };
export const SubscribeEnd = { ...oneGroup };

export const SubscribeDrop = {
  write(out, { groupStart, groupEnd, code }) {
    out.varint(groupStart);
    out.varint(groupEnd);
    out.varint(code);
  },
  read: (body) => ({ groupStart: body.varint(), groupEnd: body.varint(), code: body.varint() }),
};

export const Track = {
  write(out, { broadcast, track }) {
    out.text(broadcast);
    out.text(track);
  },
  read: (body) => ({ broadcast: body.text(), track: body.text() }),
};

export const TrackInfo = {
  write(out, { info }, version) {
    out.u8(info.priority);
    if (version.orderedField) out.flag(info.ordered);
    out.varint(info.maxAgeMs);
    out.varint(info.timescale);
  },
  read(body, version) {
    const priority = body.u8();
    const ordered = version.orderedField ? body.flag() : false;
    const info = { priority, ordered, maxAgeMs: body.varint(), timescale: body.varint() };
    if (info.timescale === 0) throw violation("a track with a timescale of 0");
    return { info };
  },
};

export const Fetch = {
  write(out, { broadcast, track, priority, group, frameStart = 0, frameEnd = null }, version) {
    out.text(broadcast);
    out.text(track);
    out.u8(priority);
    out.varint(group);
    if (version.frameRanges) {
      out.varint(frameStart);
      out.optional(frameEnd);
    }
  },
  read(body, version) {
    const [broadcast, track, priority] = [body.text(), body.text(), body.u8()];
    const group = body.varint();
    if (!version.frameRanges) {
      return { broadcast, track, priority, group, frameStart: 0, frameEnd: null };
    }
    const [frameStart, frameEnd] = [body.varint(), body.optional()];
    return { broadcast, track, priority, group, frameStart, frameEnd };
  },
};

export const Probe = {
  write(out, { bitrateBps = 0, rttMs = 0 }, version) {
    out.varint(bitrateBps);
    if (version.probeRtt) out.varint(rttMs);
  },
  read: (body, version) => ({
    bitrateBps: body.varint(),
    rttMs: version.probeRtt ? body.varint() : 0,
  }),
};

export const Goaway = {
  write: (out, { uri = "" }) => out.text(uri),
  read(body) {
    if (body.remaining > MAX_URI_BYTES + 2) {
      throw violation(`a GOAWAY URI longer than ${MAX_URI_BYTES} bytes`);
    }
    return { uri: body.text() };
  },
};

export const GroupHeader = {
  write(out, { subscription, sequence, frameStart = 0 }, version) {
    out.varint(subscription);
    out.varint(sequence);
    if (version.frameRanges) out.varint(frameStart);
  },
  read: (body, version) => ({
    subscription: body.varint(),
    sequence: body.varint(),
    frameStart: version.frameRanges ? body.varint() : 0,
  }),
};

function readParameters(body) {
  const count = body.varint();
  if (count > MAX_PARAMETERS) {
    throw violation(`${count} SETUP parameters, ${MAX_PARAMETERS} are allowed`);
  }
  const values = new Map();
  for (let left = count; left > 0; left--) {
    const id = body.varint();
    if (values.has(id)) throw violation(`SETUP parameter ${id} twice`);
    values.set(id, body.blob());
  }
  return values;
}

function numberOf(values, id) {
  const bytes = values.get(id);
  if (bytes === undefined) return null;
  const reader = new Reader(bytes);
  const number = reader.varint();
  reader.finish();
  return number;
}

/** Probe level 0 none, 1 report, 2 increase; role 0 both, 1 publisher, 2 subscriber. */
export const Setup = {
  write(out, { probe = 0, path = null, role = null, cost = null, origin = 0 }) {
    const parameters = [
      [ParameterId.PROBE, probe ? encodeVarint(probe) : null],
      [ParameterId.PATH, path === null ? null : new TextEncoder().encode(path)],
      [ParameterId.ROLE, role === null ? null : encodeVarint(role)],
      [ParameterId.COST, cost === null ? null : encodeVarint(cost)],
      [ParameterId.ORIGIN, origin ? encodeVarint(origin) : null],
    ].filter(([, value]) => value !== null);
    out.varint(parameters.length);
    for (const [id, value] of parameters) {
      out.varint(id);
      out.blob(value);
    }
  },
  read(body) {
    const values = readParameters(body);
    const path = values.get(ParameterId.PATH);
    const role = numberOf(values, ParameterId.ROLE);
    return {
      probe: Math.min(Number(numberOf(values, ParameterId.PROBE) ?? 0), 2),
      path: path === undefined ? null : asText(path),
      role: role === null || role <= 2 ? role : 0,
      cost: numberOf(values, ParameterId.COST),
      origin: numberOf(values, ParameterId.ORIGIN) ?? 0,
    };
  },
};

function asText(bytes) {
  return new Reader(concat([encodeVarint(bytes.length), bytes])).text();
}

/** Where a version numbers its announcements, the kinds by their type. */
export const ANNOUNCING = Object.freeze([AnnounceStart, AnnounceEnd, AnnounceUpdate]);

/** What may answer a SUBSCRIBE, by type. */
export function repliesOf(version) {
  return version.endMessage
    ? [SubscribeStart, SubscribeEnd, SubscribeDrop]
    : [SubscribeOk, SubscribeDrop];
}

/** Encode a message with the type that `kinds` gives it in front. */
export function encodeTyped(kinds, kind, fields, version) {
  return concat([encodeVarint(kinds.indexOf(kind)), encode(kind, fields, version)]);
}

/** Decode what `Framer.typed` took: `[kind, fields]`; throws a violation for other types. */
export function decodeTyped(kinds, [type, body], version) {
  const kind = kinds[type];
  if (!kind) throw violation(`a message of type ${type}, where ${kinds.length} are known`);
  return [kind, decode(kind, body, version)];
}
