/**
 * QMux on WebSocket messages: frames and their bytes (draft-ietf-quic-qmux,
 * draft-lcurley-qmux-websocket). The twin of moqvox/transport/websocket/frames.py.
 *
 * A frame is `{ type, ... }`, `type` being one of the names in `encodeFrame`.
 */

import { RemoteError, SessionCode } from "./errors.js";
import { Reader, Writer, varintSize } from "./varint.js";

/** Codes of CONNECTION_CLOSE (RFC 9000, section 20.1). */
export const TransportCode = Object.freeze({
  FLOW_CONTROL_ERROR: 0x3,
  STREAM_LIMIT_ERROR: 0x4,
  STREAM_STATE_ERROR: 0x5,
  FRAME_ENCODING_ERROR: 0x7,
  TRANSPORT_PARAMETER_ERROR: 0x8,
  PROTOCOL_VIOLATION: 0xa,
});

/** The peer broke QMux; `transportCode` is what it is told. */
export class Violation extends RemoteError {
  constructor(transportCode, reason) {
    super(SessionCode.PROTOCOL_VIOLATION, reason);
    this.transportCode = transportCode;
  }
}

/** What each version has: messages of several frames, pings of its own. */
export const VERSIONS = Object.freeze([
  { name: "qmux-02", records: true, pings: true },
  { name: "qmux-01", records: true, pings: true },
  { name: "qmux-00", records: false, pings: false },
]);

/** What every peer takes; a smaller limit may not be announced. */
export const DEFAULT_RECORD_BYTES = 16_382;

/** Of one message; also the largest frame of QMux 00. */
export const MAX_MESSAGE_BYTES = 16_384;

/** Bytes of one STREAM frame; peers that are out there refuse more. */
export const MAX_SEGMENT_BYTES = MAX_MESSAGE_BYTES - 32;

/** The two bits of kind in a stream's id (RFC 9000, section 2.1); we are the client. */
export const kindOf = (stream) => (stream & 2 ? "uni" : "bidi");
/** Whether a stream's number is one that the client gives. */
export const isOurs = (stream) => (stream & 1) === 0;

/** Subprotocols for application protocols, the preferred first. */
export const subprotocols = (protocols) =>
  protocols.flatMap((protocol) => VERSIONS.map(({ name }) => `${name}.${protocol}`));

/** `[version, protocol]` of a subprotocol that was offered. */
export function parseSubprotocol(name) {
  const dot = name.indexOf(".");
  const version = VERSIONS.find((each) => each.name === name.slice(0, dot));
  if (dot < 0 || !version) throw new RangeError(`"${name}" is no QMux subprotocol`);
  return [version, name.slice(dot + 1)];
}

// RFC 9000, section 19; QMux's own frames have types of eight bytes.
const TYPE = Object.freeze({
  PADDING: 0x00,
  RESET_STREAM: 0x04,
  STOP_SENDING: 0x05,
  STREAM: 0x08,
  MAX_DATA: 0x10,
  MAX_STREAM_DATA: 0x11,
  MAX_STREAMS_BIDI: 0x12,
  MAX_STREAMS_UNI: 0x13,
  DATA_BLOCKED: 0x14,
  STREAM_DATA_BLOCKED: 0x15,
  STREAMS_BLOCKED_BIDI: 0x16,
  STREAMS_BLOCKED_UNI: 0x17,
  CONNECTION_CLOSE: 0x1c,
  APPLICATION_CLOSE: 0x1d,
  DATAGRAM: 0x30,
  DATAGRAM_LENGTH: 0x31,
});
const QX_PING = 0x348c67529ef8c7bdn;
const QX_PONG = 0x348c67529ef8c7ben;
const QX_TRANSPORT_PARAMETERS = 0x3f5153300d0a0d0an;
const MAX_RECORD_SIZE = 0x0571c59429cd0845n;
const MAX_REASON_BYTES = 1_024;

const [OFFSET, LENGTH, FIN] = [0x04, 0x02, 0x01];

const PARAMETERS = new Map([
  [0x01, "maxIdleTimeoutMs"],
  [0x04, "maxData"],
  [0x05, "maxStreamDataBidiLocal"],
  [0x06, "maxStreamDataBidiRemote"],
  [0x07, "maxStreamDataUni"],
  [0x08, "maxStreamsBidi"],
  [0x09, "maxStreamsUni"],
  [0x20, "maxDatagramFrameBytes"],
  [MAX_RECORD_SIZE, "maxRecordBytes"],
]);

/** Parameters of QUIC that make no sense without packets. */
const FORBIDDEN = new Set([0x00, 0x02, 0x03, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10]);

const refuse = (reason) => new Violation(TransportCode.TRANSPORT_PARAMETER_ERROR, reason);

/** A limit as a Number; one beyond 2**53 might as well be. */
const limit = (value) => (typeof value === "bigint" ? Number.MAX_SAFE_INTEGER : value);

function decodeParameters(bytes) {
  const reader = new Reader(bytes);
  const found = {};
  while (reader.remaining) {
    const key = reader.varint();
    const value = new Reader(reader.blob());
    if (FORBIDDEN.has(key)) throw refuse(`transport parameter ${key} has no place in QMux`);
    const field = PARAMETERS.get(key);
    if (!field) continue;
    if (field in found) throw refuse(`transport parameter ${key} is there twice`);
    found[field] = limit(value.varint());
    value.finish();
  }
  const all = Object.fromEntries([...PARAMETERS.values()].map((field) => [field, 0]));
  const parameters = { ...all, maxRecordBytes: DEFAULT_RECORD_BYTES, ...found };
  if (parameters.maxRecordBytes < DEFAULT_RECORD_BYTES) {
    throw refuse(`records of ${parameters.maxRecordBytes} bytes are less than all must take`);
  }
  return parameters;
}

function encodeParameters(parameters) {
  const writer = new Writer();
  for (const [key, field] of PARAMETERS) {
    const value = parameters[field];
    if (!value) continue;
    writer.varint(key);
    writer.varint(varintSize(value));
    writer.varint(value);
  }
  return writer.bytes();
}

const ENCODERS = {
  Hello(writer, { parameters }) {
    writer.varint(QX_TRANSPORT_PARAMETERS);
    writer.blob(encodeParameters(parameters));
  },
  Segment(writer, { stream, offset, data, fin }) {
    writer.varint(TYPE.STREAM | OFFSET | LENGTH | (fin ? FIN : 0));
    writer.varint(stream);
    writer.varint(offset ?? 0);
    writer.blob(data);
  },
  ResetStream: (writer, { stream, code, finalBytes }) =>
    fields(writer, TYPE.RESET_STREAM, stream, code, finalBytes),
  StopSending: (writer, { stream, code }) => fields(writer, TYPE.STOP_SENDING, stream, code),
  MaxData: (writer, { limitBytes }) => fields(writer, TYPE.MAX_DATA, limitBytes),
  MaxStreamData: (writer, { stream, limitBytes }) =>
    fields(writer, TYPE.MAX_STREAM_DATA, stream, limitBytes),
  MaxStreams: (writer, { bidirectional, count }) =>
    fields(writer, bidirectional ? TYPE.MAX_STREAMS_BIDI : TYPE.MAX_STREAMS_UNI, count),
  Ping: (writer, { number }) => fields(writer, QX_PING, number),
  Pong: (writer, { number }) => fields(writer, QX_PONG, number),
  Datagram(writer, { data }) {
    writer.varint(TYPE.DATAGRAM_LENGTH);
    writer.blob(data);
  },
  Close(writer, { code, isTransport, reason }) {
    if (isTransport) fields(writer, TYPE.CONNECTION_CLOSE, code, 0);
    else fields(writer, TYPE.APPLICATION_CLOSE, code);
    writer.blob(new TextEncoder().encode(reason).subarray(0, MAX_REASON_BYTES));
  },
};

function fields(writer, ...values) {
  for (const value of values) writer.varint(value);
}

/** Write a frame so that others may follow it. */
export function encodeFrame(frame) {
  const writer = new Writer();
  ENCODERS[frame.type](writer, frame);
  return writer.bytes();
}

/** Read what says only what the peer would like; it gets credit when there is some. */
const passOver = (count) => (reader) => {
  for (let at = 0; at < count; at++) reader.varint();
  return null;
};

const close = (isTransport) => (reader) => {
  const code = reader.varint();
  if (isTransport) reader.varint(); // type of the frame that was wrong
  return { type: "Close", code, isTransport, reason: new TextDecoder().decode(reader.blob()) };
};

const DECODERS = new Map([
  [TYPE.RESET_STREAM, (reader) => ({
    type: "ResetStream", stream: reader.count(), code: reader.varint(), finalBytes: reader.count(),
  })],
  [TYPE.STOP_SENDING, (reader) => ({
    type: "StopSending", stream: reader.count(), code: reader.varint(),
  })],
  [TYPE.MAX_DATA, (reader) => ({ type: "MaxData", limitBytes: limit(reader.varint()) })],
  [TYPE.MAX_STREAM_DATA, (reader) => ({
    type: "MaxStreamData", stream: reader.count(), limitBytes: limit(reader.varint()),
  })],
  [TYPE.MAX_STREAMS_BIDI, (reader) => ({
    type: "MaxStreams", bidirectional: true, count: limit(reader.varint()),
  })],
  [TYPE.MAX_STREAMS_UNI, (reader) => ({
    type: "MaxStreams", bidirectional: false, count: limit(reader.varint()),
  })],
  [TYPE.DATA_BLOCKED, passOver(1)],
  [TYPE.STREAM_DATA_BLOCKED, passOver(2)],
  [TYPE.STREAMS_BLOCKED_BIDI, passOver(1)],
  [TYPE.STREAMS_BLOCKED_UNI, passOver(1)],
  [TYPE.CONNECTION_CLOSE, close(true)],
  [TYPE.APPLICATION_CLOSE, close(false)],
  [TYPE.DATAGRAM, (reader) => ({ type: "Datagram", data: reader.rest() })],
  [TYPE.DATAGRAM_LENGTH, (reader) => ({ type: "Datagram", data: reader.blob() })],
  [QX_PING, (reader) => ({ type: "Ping", number: reader.varint() })],
  [QX_PONG, (reader) => ({ type: "Pong", number: reader.varint() })],
  [QX_TRANSPORT_PARAMETERS, (reader) => ({
    type: "Hello", parameters: decodeParameters(reader.blob()),
  })],
]);

function segment(reader, kind) {
  const stream = reader.count();
  const offset = kind & OFFSET ? reader.count() : null;
  const data = kind & LENGTH ? reader.blob() : reader.rest();
  return { type: "Segment", stream, offset, data, fin: Boolean(kind & FIN) };
}

/**
 * The frames of one message; what only informs is left out. Throws a Violation for a frame of no
 * known type, RemoteError for one that is cut off or makes no sense.
 */
export function decodeRecord(bytes) {
  const reader = new Reader(bytes);
  const frames = [];
  while (reader.remaining) {
    const kind = reader.varint();
    if (kind === TYPE.PADDING) continue;
    if (kind >= TYPE.STREAM && kind <= (TYPE.STREAM | OFFSET | LENGTH | FIN)) {
      frames.push(segment(reader, kind));
      continue;
    }
    const decode = DECODERS.get(kind);
    if (!decode) throw new Violation(TransportCode.FRAME_ENCODING_ERROR, `a frame of type ${kind}`);
    const frame = decode(reader);
    if (frame) frames.push(frame);
  }
  return frames;
}
