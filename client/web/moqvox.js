/**
 * Voice on MoQ for web pages: speak to an agent, hear its answers, lose nothing.
 *
 *     import { connect } from "./moqvox.js";
 *     const call = connect("https://localhost:4443/", { certificateHashes: ["ab12..."] });
 *     await call.openMicrophone();              // asks the user
 *     const utterance = call.speak();           // from the microphone, pre-roll included
 *     utterance.finish();
 *     console.log(await utterance.receipted);   // what arrived; utterance.intact tells the rest
 *     for await (const response of call.answers()) console.log(response.number);
 *
 * docs/browser.md describes all of it.
 */

import { Encoder, openContext } from "./audio.js";
import { Call } from "./call.js";
import { dial } from "./dial.js";
import { LocalError } from "./errors.js";
import { Microphone } from "./microphone.js";
import { Playback } from "./playback.js";
import { Queue } from "./streams.js";
import { Ways } from "./ways.js";

export { VoiceGate, missing } from "./audio.js";
export { LocalError, MediaError, Refused, StreamEnded, Unavailable } from "./errors.js";
export { oggOpus } from "./opus.js";
export { ALPNS } from "./version.js";

/** Responses that `answers()` holds for a caller who takes none. */
const MAX_ANSWERS = 256;

/**
 * Call an agent, directly or through a relay. Returns at once: what is spoken before the
 * connection stands is kept and sent first. Several URLs lead to the same agent, the first is
 * wanted most.
 */
export function connect(url, options = {}) {
  return new VoiceCall(url, options);
}

/** A `Call` with the browser's audio: see call.js for its events and `id`, `state`, `marks`. */
export class VoiceCall extends Call {
  playback = null;
  microphone = null;
  #options;
  #context = null;
  #recording = null;
  #answers = new Queue(MAX_ANSWERS);

  constructor(url, options) {
    const { certificateHashes, token, versions, carriers, namedProtocol, timeoutMs } = options;
    const how = { certificateHashes, token, versions, carriers, namedProtocol, timeoutMs };
    const ways = new Ways(url);
    super((origin, originId, goaway) =>
      ways.open((where) => dial(where, { origin, originId, ...how }), goaway));
    this.#options = { bargeIn: true, ...options };
    this.addEventListener("response", ({ detail }) => this.#answers.push(detail));
    if (globalThis.addEventListener) addEventListener("online", () => this.retry());
  }

  /** The responses, each as it begins. */
  answers() {
    return this.#answers[Symbol.asyncIterator]();
  }

  /** Get ready to play. Browsers want a click or a key before; call it from its listener. */
  async openSpeaker() {
    this.#context ??= openContext();
    const context = await this.#context;
    if (!this.playback) {
      const { policy, capture } = this.#options;
      this.playback = new Playback(context, this, { policy, capture });
      void this.playback.run();
    }
    if (context.state === "suspended") await context.resume();
    return this.playback;
  }

  /** Ask for the microphone; throws Unavailable when it is refused. */
  async openMicrophone(processing) {
    await this.openSpeaker();
    this.microphone ??= await Microphone.open(await this.#context, processing);
    return this.microphone;
  }

  /**
   * Begin an utterance, and fall silent if an answer plays. With a microphone it is taken from
   * there until `finish()`; without one, or with `source: "packets"`, `write` Opus packets.
   */
  speak({ source = this.microphone ? "microphone" : "packets" } = {}) {
    if (this.#options.bargeIn) void this.interrupt();
    const speech = super.speak();
    if (source === "microphone") this.#record(speech);
    return speech;
  }

  /** Fall silent at once; resolves with what was heard of each response that was cut. */
  async interrupt(response = null) {
    if (response) {
      super.interrupt(response);
      return [];
    }
    return this.playback ? this.playback.interrupt() : [];
  }

  async hangUp(options) {
    this.#recording?.finish();
    await super.hangUp(options);
    this.#answers.close();
    this.microphone?.close();
    this.microphone = null;
    this.playback?.close();
    if (this.#context) await (await this.#context).close();
  }

  /** Put the microphone's sound into `speech` until it is finished. */
  #record(speech) {
    if (!this.microphone) throw new LocalError("open the microphone first");
    this.#recording?.finish();
    const { microphone } = this;
    let encoder = null;
    const take = (frame) => {
      if (speech.finished) {
        microphone.removeListener(take);
        return;
      }
      // A microphone tells its rate with its first sound.
      encoder ??= new Encoder((packet) => {
        if (!speech.finished) speech.write(packet);
      }, { ...this.#options, sampleRate: microphone.sampleRate });
      encoder.push(frame);
    };
    speech.drain = async () => {
      // What was said before this moment may still be on its way through a page that is held up.
      await microphone.caughtUp();
      microphone.removeListener(take);
      if (this.#recording === speech) this.#recording = null;
      await encoder?.finish();
    };
    this.#recording = speech;
    for (const frame of microphone.preroll()) take(frame);
    microphone.addListener(take);
  }
}
