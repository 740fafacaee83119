/**
 * WebTransport's interface on a WebSocket: QMux, for networks that block UDP and browsers
 * without WebTransport. All streams share one TCP connection, so a lost packet holds up all of
 * them: it is the fallback, not the rival.
 */

import { after } from "./clock.js";
import { RemoteError } from "./errors.js";
import {
  DEFAULT_RECORD_BYTES, MAX_MESSAGE_BYTES, MAX_SEGMENT_BYTES, TransportCode, Violation,
  decodeRecord, encodeFrame, isOurs, kindOf, parseSubprotocol, subprotocols,
} from "./qmux.js";
import { CONNECTION_WINDOW, MAX_STREAMS, Receiving, STREAM_WINDOW } from "./receiving.js";
import { Sending } from "./sending.js";
import { resolvers, unattended } from "./streams.js";
import { concat } from "./varint.js";

/** Given to the socket ahead of what may turn out more urgent. */
const BURST_BYTES = 16 * 1024;

/** The socket does not tell when it has room again. */
const LOOK_EVERY_MS = 10;

const IDLE_TIMEOUT_MS = 30_000;
const PING_AFTER_MS = 10_000;

/** WebSocket close codes after which nothing went wrong (RFC 6455, section 7.4.1). */
const PLAIN_GOODBYES = [1000, 1001, 1005];
const PROTOCOL_ERROR = 3002;

/** What `WebTransport` is to a session, on a WebSocket. */
export class WebSocketTransport {
  /** The negotiated application protocol, without QMux's part of the name. */
  protocol = "";
  #socket;
  #version = null;
  #ready = resolvers();
  #closed = resolvers();
  #over = false;
  #peer = null;
  #sending;
  #receiving;
  #incoming = { bidi: null, uni: null };
  #pong = null;
  #pings = 0;
  #due = false;
  #look = null;
  #heardMs = performance.now();
  #heartbeat = null;

  /** `protocols` are names of application protocols, the preferred first. */
  constructor(url, { protocols }) {
    unattended(this.#ready.promise);
    unattended(this.#closed.promise);
    const touch = () => this.#touch();
    this.#receiving = new Receiving(
      touch,
      (frame) => {
        this.#sending.control.push(frame);
        touch();
      },
      (stream, readable) => this.#opened(stream, readable),
    );
    this.#sending = new Sending(touch, (stream) => this.#receiving.halfOver(stream));
    const incoming = (kind) => new ReadableStream({
      start: (controller) => void (this.#incoming[kind] = controller),
    });
    this.incomingBidirectionalStreams = incoming("bidi");
    this.incomingUnidirectionalStreams = incoming("uni");
    this.#socket = new WebSocket(url, subprotocols(protocols));
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#greet();
    this.#socket.onmessage = ({ data }) => this.#take(data);
    this.#socket.onclose = (event) => this.#gone(event);
  }

  /** Resolves once both sides have told their limits. */
  get ready() {
    return this.#ready.promise;
  }

  /** Resolves with `{ closeCode, reason }`, or rejects when the connection was lost. */
  get closed() {
    return this.#closed.promise;
  }

  async createBidirectionalStream({ sendOrder = 0 } = {}) {
    const stream = await this.#open("bidi");
    return {
      readable: this.#receiving.readable(stream),
      writable: this.#sending.writable(stream, sendOrder),
    };
  }

  async createUnidirectionalStream({ sendOrder = 0 } = {}) {
    return this.#sending.writable(await this.#open("uni"), sendOrder);
  }

  /** Close; what is still queued is dropped. */
  close({ closeCode = 0, reason = "" } = {}) {
    if (this.#over) return;
    this.#goodbye({ type: "Close", code: closeCode, isTransport: false, reason }, 1000);
    this.#end({ closeCode, reason });
  }

  async #open(kind) {
    if (this.#over) throw new Error("the connection is closed");
    return this.#sending.open(kind);
  }

  #greet() {
    try {
      [this.#version, this.protocol] = parseSubprotocol(this.#socket.protocol);
    } catch (error) {
      this.#fail(TransportCode.PROTOCOL_VIOLATION, error.message);
      return;
    }
    this.#send(encodeFrame({
      type: "Hello",
      parameters: {
        maxIdleTimeoutMs: IDLE_TIMEOUT_MS,
        maxData: CONNECTION_WINDOW,
        maxStreamDataBidiLocal: STREAM_WINDOW,
        maxStreamDataBidiRemote: STREAM_WINDOW,
        maxStreamDataUni: STREAM_WINDOW,
        maxStreamsBidi: MAX_STREAMS.bidi,
        maxStreamsUni: MAX_STREAMS.uni,
        maxRecordBytes: this.#version.records ? MAX_MESSAGE_BYTES : 0,
      },
    }));
    // The browser answers WebSocket pings unseen, so only QMux's own tell that the peer lives.
    if (this.#version.pings) this.#beatLater();
  }

  #beatLater() {
    this.#heartbeat = after(PING_AFTER_MS / 2, () => this.#beat());
  }

  #beat() {
    this.#beatLater();
    const silentMs = performance.now() - this.#heardMs;
    if (silentMs > IDLE_TIMEOUT_MS) {
      this.#socket.close();
      this.#end(null, new Error("idle time-out"));
    } else if (silentMs > PING_AFTER_MS && this.#peer) {
      this.#sending.control.push({ type: "Ping", number: this.#pings++ });
      this.#touch();
    }
  }

  #opened(stream, readable) {
    const kind = kindOf(stream);
    const made = kind === "uni" ? readable : { readable, writable: this.#sending.writable(stream) };
    this.#incoming[kind].enqueue(made);
  }

  // The way in.

  #take(data) {
    if (this.#over) return;
    this.#heardMs = performance.now();
    if (typeof data === "string") {
      this.#fail(TransportCode.PROTOCOL_VIOLATION, "a text message");
      return;
    }
    try {
      for (const frame of decodeRecord(new Uint8Array(data))) this.#handle(frame);
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      this.#fail(error.transportCode ?? TransportCode.FRAME_ENCODING_ERROR, error.message);
    }
  }

  #handle(frame) {
    if (this.#over) return;
    if (!this.#peer && frame.type !== "Hello" && frame.type !== "Close") {
      const reason = `${frame.type} came before the transport parameters`;
      throw new Violation(TransportCode.PROTOCOL_VIOLATION, reason);
    }
    switch (frame.type) {
      case "Hello": return this.#hello(frame);
      case "Segment": return this.#checked(frame, "receive");
      case "ResetStream": return this.#checked(frame, "reset");
      case "StopSending": return this.#sending.stop(this.#outgoing(frame), frame.code);
      case "MaxData": return this.#sending.allowData(frame.limitBytes);
      case "MaxStreamData":
        return this.#sending.allowStreamData(this.#outgoing(frame), frame.limitBytes);
      case "MaxStreams":
        return this.#sending.allowStreams(frame.bidirectional ? "bidi" : "uni", frame.count);
      case "Datagram":
        throw new Violation(TransportCode.PROTOCOL_VIOLATION, "a datagram, and none is allowed");
      case "Ping":
        this.#pong = frame.number;
        return this.#touch();
      case "Close": return this.#closedByPeer(frame);
      default: return undefined; // a pong: that it came is all there is to it
    }
  }

  #hello({ parameters }) {
    if (this.#peer) {
      throw new Violation(TransportCode.PROTOCOL_VIOLATION, "the transport parameters came twice");
    }
    this.#peer = parameters;
    this.#sending.begin(parameters);
    this.#ready.resolve();
  }

  /** Bytes or a reset, on a stream that the peer may send on. */
  #checked(frame, verb) {
    const { stream } = frame;
    if (isOurs(stream) && (kindOf(stream) === "uni" || !this.#sending.hasOpened(stream))) {
      throw misplaced(frame);
    }
    this.#receiving[verb](frame);
  }

  /** The stream of a frame about what we send; one of the peer's was heard of before. */
  #outgoing(frame) {
    const { stream } = frame;
    const exists = isOurs(stream) ? this.#sending.hasOpened(stream) : kindOf(stream) === "bidi";
    if (!exists) throw misplaced(frame);
    return stream;
  }

  // The way out.

  #touch() {
    if (this.#due || this.#over) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.#flush();
    });
  }

  #flush() {
    if (this.#over || !this.#peer) return;
    while (this.#socket.bufferedAmount < BURST_BYTES) {
      const frames = this.#next();
      if (!frames.length) return;
      for (const message of this.#packed(frames.map(encodeFrame))) this.#send(message);
    }
    this.#look ??= after(LOOK_EVERY_MS, () => {
      this.#look = null;
      this.#flush();
    });
  }

  /** Control first, then about one message of streams' bytes. */
  #next() {
    const frames = [...this.#receiving.takeCredit(), ...this.#sending.control.splice(0)];
    if (this.#pong !== null) frames.push({ type: "Pong", number: this.#pong });
    this.#pong = null;
    const segmentBytes = Math.min(MAX_SEGMENT_BYTES, this.#recordBytes - 32);
    frames.push(...this.#sending.take(segmentBytes, segmentBytes));
    return frames;
  }

  get #recordBytes() {
    if (!this.#version.records) return MAX_MESSAGE_BYTES;
    return Math.min(this.#peer?.maxRecordBytes ?? DEFAULT_RECORD_BYTES, MAX_MESSAGE_BYTES);
  }

  #packed(frames) {
    if (!this.#version.records) return frames;
    const messages = [];
    let [waiting, size] = [[], 0];
    for (const frame of frames) {
      if (size + frame.length > this.#recordBytes) {
        messages.push(concat(waiting));
        [waiting, size] = [[], 0];
      }
      waiting.push(frame);
      size += frame.length;
    }
    if (waiting.length) messages.push(concat(waiting));
    return messages;
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(message);
  }

  // The end.

  #goodbye(frame, code) {
    if (this.#version) this.#send(encodeFrame(frame));
    this.#socket.close(code);
  }

  #fail(code, reason) {
    this.#goodbye({ type: "Close", code, isTransport: true, reason }, PROTOCOL_ERROR);
    this.#end(null, new Error(reason));
  }

  #closedByPeer({ code, isTransport, reason }) {
    this.#socket.close(1000);
    if (isTransport && code) this.#end(null, new Error(`transport error ${code}: ${reason}`));
    else this.#end({ closeCode: Number(code), reason });
  }

  #gone({ code, reason }) {
    if (PLAIN_GOODBYES.includes(code) && this.#peer) this.#end({ closeCode: 0, reason });
    else this.#end(null, new Error(reason || "the connection was lost"));
  }

  #end(info, error = null) {
    if (this.#over) return;
    this.#over = true;
    this.#heartbeat?.();
    this.#look?.();
    const cause = error ?? new Error("the connection is closed");
    this.#ready.reject(cause);
    this.#sending.close(cause);
    this.#receiving.close(cause);
    for (const controller of Object.values(this.#incoming)) controller.close();
    if (error) this.#closed.reject(error);
    else this.#closed.resolve(info);
  }
}

const misplaced = ({ type, stream }) =>
  new Violation(TransportCode.STREAM_STATE_ERROR, `${type} for stream ${stream}, which has none`);
