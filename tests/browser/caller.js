// Makes a call on a blank page, and keeps what a test wants to look at. The body of an async
// function: `window.options`, if set, goes to `connect`; `raw` turns the browser's own processing of the microphone off.
const { connect, missing } = await import("/moqvox.js");
const { url, certificateHashes } = await (await fetch("/connection.json")).json();
const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const call = connect(url, { certificateHashes, capture: true, ...window.options });
const seen = { call, raw, missing: missing(), captured: [], pieces: [], ended: [], states: [], times: [] };
window.seen = seen;
call.addEventListener("state", ({ detail }) => {
  seen.states.push(detail.state);
  seen.times.push([Math.round(performance.now()), detail.state, String(detail.error ?? "")]);
  if (detail.error) console.log(`state ${detail.state}: ${detail.error}`);
});
const playback = await call.openSpeaker();
playback.addEventListener("captured", ({ detail }) => seen.captured.push(detail));
playback.addEventListener("pieces", ({ detail }) => seen.pieces.push(detail));
playback.addEventListener("ended", ({ detail: { response, how, totals } }) =>
  seen.ended.push({ number: response.number, item: response.item, how, totals }));

seen.bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Speak packets (base64) at the pace of a microphone. */
seen.say = async (packets, paceMs = 20) => {
  const speech = call.speak({ source: "packets" });
  seen.speech = speech;
  const start = performance.now();
  for (let at = 0; at < packets.length; at++) {
    const waitMs = start + at * paceMs - performance.now();
    if (waitMs > 0) await new Promise((done) => setTimeout(done, waitMs));
    speech.write(seen.bytes(packets[at]));
  }
  speech.finish();
  return speech;
};

/** Everything put out so far, as base64 of Float32, and the frame it begins at. */
seen.output = () => {
  const blocks = seen.captured;
  const pcm = new Float32Array(blocks.reduce((sum, block) => sum + block.pcm.length, 0));
  let at = 0;
  for (const block of blocks) {
    if (block.frame !== blocks[0].frame + at) throw new Error("the capture has a hole");
    pcm.set(block.pcm, at);
    at += block.pcm.length;
  }
  const bytes = new Uint8Array(pcm.buffer);
  let text = "";
  for (let from = 0; from < bytes.length; from += 32_768) {
    text += String.fromCharCode(...bytes.subarray(from, from + 32_768));
  }
  return { frame: blocks[0]?.frame ?? 0, pcm: btoa(text) };
};
return true;
