/** Plays responses through the playout worklet, and tells the call what was really heard. */

import { Decoder } from "./audio.js";
import { Signal, resolvers } from "./streams.js";

/** Time between two reports of one response that plays. */
const REPORT_EVERY_MS = 100;

/** Decoded audio handed to the worklet ahead of what was heard; the rest waits encoded. */
const DECODED_AHEAD_US = 10_000_000;

const us = (samples) => Math.round((samples * 1000) / 48);

/** The speaker of a call; made by `openSpeaker()`. */
export class Playback extends EventTarget {
  /** The worklet's latest snapshot. */
  stats = { state: "idle", leadUs: 0, queuedUs: 0 };
  #context;
  #call;
  #node;
  #playing = new Map();
  #flushes = new Map();
  #flushCount = 0;
  #reported = new Signal();

  /**
   * `context` is `openContext()`'s. With `capture`, every block put out is dispatched as
   * `captured` ({ frame, pcm }), and what it consists of as `pieces`.
   */
  constructor(context, call, { policy = {}, capture = false } = {}) {
    super();
    this.#context = context;
    this.#call = call;
    this.#node = new AudioWorkletNode(context, "moqvox-playout", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { policy: { bytesMax: 32 << 20, ...policy }, capture },
    });
    this.#node.port.onmessage = ({ data }) => this.#take(data);
    this.#node.connect(context.destination);
  }

  /** Play the call's responses until it ends. */
  async run() {
    for await (const response of this.#call.responses) void this.#play(response);
  }

  get isPlaying() {
    return this.#playing.size > 0;
  }

  /** The audio clock, seconds; output frames are counted on it. */
  get time() {
    return this.#context.currentTime;
  }

  /** Where a response that plays is now, in microseconds of its own time. */
  positionUs(response) {
    const entry = this.#playing.get(response.item);
    if (!entry) return response.heard?.heardUs ?? 0;
    const sinceUs = entry.moving ? 1e6 * (this.#context.currentTime - entry.time) : 0;
    return Math.min(entry.heardUs + Math.max(0, sinceUs), response.durationUs);
  }

  /** Fall silent at once, after a short fade; resolves with what was heard of each response. */
  async interrupt(fadeUs = 20_000) {
    const through = Math.max(-1, ...this.#playing.keys());
    if (through < 0) return [];
    const id = this.#flushCount++;
    const answer = resolvers();
    this.#flushes.set(id, answer);
    this.#node.port.postMessage({ verb: "flush", fadeUs, through, id });
    return answer.promise;
  }

  close() {
    this.#node.port.close();
    this.#node.disconnect();
  }

  async #play(response) {
    const { item } = response;
    const entry = {
      response, heardUs: 0, time: 0, moving: false, postedUs: 0, reportedMs: 0, over: false,
    };
    this.#playing.set(item, entry);
    const port = this.#node.port;
    port.postMessage({ verb: "open", item });
    const decoder = new Decoder((timestampUs, pcm) => {
      port.postMessage({ verb: "push", item, timestampUs, pcm }, [pcm.buffer]);
    });
    try {
      for await (const packet of response) {
        decoder.push(packet);
        entry.postedUs += packet.durationUs;
        while (entry.postedUs - entry.heardUs > DECODED_AHEAD_US && !entry.over) {
          await Promise.race([this.#reported.wait(), response.changed.wait()]);
          if (response.cancelled) break;
        }
        if (entry.over) break;
      }
      await decoder.flush();
    } finally {
      decoder.close();
    }
    if (response.cancelled) port.postMessage({ verb: "reset", item });
    else port.postMessage({ verb: "end", item });
    await this.#resetWhenCancelled(entry);
  }

  /** A response may be taken back after its last frame. */
  async #resetWhenCancelled(entry) {
    while (!entry.over) {
      if (entry.response.cancelled) {
        this.#node.port.postMessage({ verb: "reset", item: entry.response.item });
        return;
      }
      await Promise.race([entry.response.changed.wait(), this.#reported.wait()]);
    }
  }

  #take(data) {
    if (data.type === "began") this.#began(data);
    else if (data.type === "report") this.#report(data);
    else if (data.type === "ended") this.#ended(data);
    else if (data.type === "flushed") {
      this.#flushes.get(data.id)?.resolve(data.ended);
      this.#flushes.delete(data.id);
    } else if (data.type === "capture") this.#dispatch("captured", data);
    else if (data.type === "pieces") this.#dispatch("pieces", data);
  }

  #began({ item, time }) {
    const entry = this.#playing.get(item);
    if (!entry) return;
    entry.response.soundedMs = performance.now();
    Object.assign(entry, { time, moving: true });
    this.#call.mark("sound");
    this.#dispatch("began", entry.response);
  }

  #report({ stats, items, time }) {
    this.stats = stats;
    for (const { item, totals } of items) {
      const entry = this.#playing.get(item);
      if (!entry || !totals) continue;
      const moving = stats.item === item && stats.state === "playing";
      Object.assign(entry, { heardUs: totals.heardUs, time, moving });
      const now = performance.now();
      if (totals.heardSamples && now - entry.reportedMs >= REPORT_EVERY_MS) {
        entry.reportedMs = now;
        this.#tell(entry, totals, "playing", stats.item === item ? stats.leadUs : 0);
      }
    }
    this.#reported.fire();
  }

  #ended({ item, how, totals }) {
    const entry = this.#playing.get(item);
    if (!entry) return;
    entry.over = true;
    this.#playing.delete(item);
    this.#tell(entry, totals, how === "played" ? "ended" : "interrupted", 0);
    this.#reported.fire();
    this.#dispatch("ended", { response: entry.response, how, totals });
  }

  #tell({ response }, totals, state, leadUs) {
    const { heardUs, silenceSamples, underruns } = totals;
    this.#call.report(response, {
      heardUs, state, silenceUs: us(silenceSamples), underruns, leadUs,
    });
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
