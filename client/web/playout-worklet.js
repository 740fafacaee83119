/**
 * Renders responses where audio is made. Takes frames and verbs by message, tells what was
 * heard; every decision is `player.js`'s.
 *
 * To the page: `began`, `ended`, `report` (20 times a second while something is queued),
 * `flushed` (the answer to `flush`), and with `capture` every block that was put out.
 */

import { Player } from "./player.js";

const REPORT_EVERY = 0.05;
const CAPTURE_SAMPLES = 9_600;

class PlayoutProcessor extends AudioWorkletProcessor {
  #player;
  #reported = 0;
  #busy = false;
  #items = new Set();
  #captured = null;
  #capturedCount = 0;

  constructor({ processorOptions: { policy, capture } }) {
    super();
    this.#player = new Player({ ...policy, sampleRate });
    if (capture) this.#captured = new Float32Array(CAPTURE_SAMPLES);
    this.port.onmessage = ({ data }) => this.#take(data);
  }

  process(_inputs, [[output]]) {
    const decisions = this.#player.render(output, this.#nowUs());
    for (const decision of decisions) this.#tell(decision);
    if (this.#busy && currentTime - this.#reported >= REPORT_EVERY) this.#report();
    if (this.#captured) this.#capture(output, decisions);
    return true;
  }

  #nowUs() {
    return Math.round((currentFrame / sampleRate) * 1e6);
  }

  #take({ verb, item, timestampUs, pcm, fadeUs, through, id }) {
    this.#busy = true;
    switch (verb) {
      case "open":
        this.#items.add(item);
        this.#player.open(item);
        break;
      case "push": {
        const { outcome } = this.#player.push(item, timestampUs, pcm, this.#nowUs());
        if (outcome === "full") this.port.postMessage({ type: "full", item, timestampUs });
        break;
      }
      case "end":
        this.#player.end(item);
        break;
      case "reset": {
        const ended = this.#player.reset(item, fadeUs);
        if (ended) this.#ended(ended);
        break;
      }
      case "flush": {
        const ended = this.#player.flush(fadeUs, through);
        for (const each of ended) this.#ended(each);
        this.port.postMessage({ type: "flushed", id, ended, frame: currentFrame });
        break;
      }
      default:
        break;
    }
  }

  #tell(decision) {
    if (decision.kind === "began") {
      this.port.postMessage({ type: "began", item: decision.item, time: currentTime });
    } else if (decision.kind === "ended") {
      this.#ended(decision);
    }
  }

  #ended({ item, how, totals }) {
    this.#items.delete(item);
    this.port.postMessage({ type: "ended", item, how, totals, time: currentTime });
  }

  #report() {
    this.#reported = currentTime;
    const stats = this.#player.stats(this.#nowUs());
    const items = [...this.#items].map((item) => ({ item, totals: this.#player.totals(item) }));
    this.port.postMessage({ type: "report", stats, items, time: currentTime });
    this.#busy = stats.items > 0;
  }

  /** Keep what is put out, with the media it consists of, for whoever checks it. */
  #capture(output, decisions) {
    this.#captured.set(output, this.#capturedCount);
    this.#capturedCount += output.length;
    const pieces = decisions.filter(({ kind }) => kind === "play" || kind === "fade");
    if (pieces.length) {
      this.port.postMessage({ type: "pieces", frame: currentFrame, pieces });
    }
    if (this.#capturedCount < CAPTURE_SAMPLES) return;
    const frame = currentFrame + output.length - CAPTURE_SAMPLES;
    this.port.postMessage({ type: "capture", frame, pcm: this.#captured }, [this.#captured.buffer]);
    this.#captured = new Float32Array(CAPTURE_SAMPLES);
    this.#capturedCount = 0;
  }
}

registerProcessor("moqvox-playout", PlayoutProcessor);
