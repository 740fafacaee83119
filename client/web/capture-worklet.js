/** Hands the microphone's samples to the page in frames of 20 ms. */

const FRAME_SAMPLES = 960;

class CaptureProcessor extends AudioWorkletProcessor {
  #frame = new Float32Array(FRAME_SAMPLES);
  #filled = 0;

  process([[input]]) {
    for (let at = 0; input && at < input.length; ) {
      const count = Math.min(FRAME_SAMPLES - this.#filled, input.length - at);
      this.#frame.set(input.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === FRAME_SAMPLES) {
        this.port.postMessage(this.#frame, [this.#frame.buffer]);
        this.#frame = new Float32Array(FRAME_SAMPLES);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("moqvox-capture", CaptureProcessor);
