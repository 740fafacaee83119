/** Hands the microphone's samples to the page in frames of 20 ms. */

const FRAME_SAMPLES = 960;
const SILENCE = new Float32Array(128);

class CaptureProcessor extends AudioWorkletProcessor {
  #frame = new Float32Array(FRAME_SAMPLES);
  #filled = 0;
  /** Whether silence stands for what does not come. */
  #keepsTime;
  /** Questions of the page whether all that came before them has been handed on. */
  #asked = 0;

  constructor({ processorOptions }) {
    super();
    this.#keepsTime = processorOptions.keepsTime;
    this.port.onmessage = () => (this.#asked += 1);
  }

  process([[input]]) {
    const sound = this.#keepsTime ? SILENCE : input;
    for (let at = 0; sound && at < sound.length; ) {
      const count = Math.min(FRAME_SAMPLES - this.#filled, sound.length - at);
      this.#frame.set(sound.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === FRAME_SAMPLES) this.#handOver();
    }
    return true;
  }

  #handOver() {
    this.port.postMessage(this.#frame, [this.#frame.buffer]);
    this.#frame = new Float32Array(FRAME_SAMPLES);
    this.#filled = 0;
    for (; this.#asked > 0; this.#asked -= 1) this.port.postMessage("caught up");
  }
}

registerProcessor("moqvox-capture", CaptureProcessor);
