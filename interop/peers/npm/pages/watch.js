// The custom element of @moq/watch, and what it puts out.

import "@moq/watch/element";

import { withoutWebTransport } from "./transports.js";

const CAPTURE = `registerProcessor("capture", class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length > 0) this.port.postMessage(input[0].slice());
    return true;
  }
});`;

window.watch = (url, name, { "tls-fingerprint": hash, websocket }) => {
  if (websocket) withoutWebTransport();
  const element = document.createElement("moq-watch");
  element.setAttribute("name", name);
  element.connection.webtransport = { serverCertificateHashes: [{ value: hash }] };
  element.setAttribute("url", url);
  document.body.append(element);
  window.element = element;
  element.signals.run((effect) => {
    const session = effect.get(element.connection.established);
    if (session !== undefined) window.emit("session", { version: session.version });
  });
  element.signals.run((effect) => {
    const root = effect.get(element.audio.out.root);
    const context = effect.get(element.audio.out.context);
    if (root !== undefined && context !== undefined) void capture(context, root);
  });
};

const heard = { rate: 0, samples: 0, parts: [] };

async function capture(context, root) {
  const url = URL.createObjectURL(new Blob([CAPTURE], { type: "text/javascript" }));
  await context.audioWorklet.addModule(url);
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  heard.rate = context.sampleRate;
  node.port.onmessage = ({ data }) => {
    heard.samples += data.length;
    heard.parts.push(data);
  };
  root.connect(node);
}

/** What the element says of itself. */
window.progress = () => ({
  bytes: window.element.audio.out.stats.peek()?.bytesReceived ?? 0,
  timestamp_ms: Math.round(window.element.audio.out.timestamp.peek() ?? 0),
  sounding_ms: heard.rate === 0 ? 0 : Math.round((1000 * heard.samples) / heard.rate),
});

/** Take the last `seconds` that sounded: the rate, and s16le as numbers. */
window.heard = (seconds) => {
  const all = new Float32Array(heard.samples);
  let at = 0;
  for (const part of heard.parts) {
    all.set(part, at);
    at += part.length;
  }
  const last = all.subarray(Math.max(0, all.length - Math.round(seconds * heard.rate)));
  const pcm = Array.from(last, (x) => Math.round(32767 * Math.max(-1, Math.min(1, x))));
  return { rate: heard.rate, pcm };
};
