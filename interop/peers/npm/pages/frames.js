// A publisher and a subscriber of raw frames on @moq/net.

import * as Moq from "@moq/net";

import { offerOnly, withoutWebTransport } from "./transports.js";

const AGE_MS = 60_000;
let session;

window.connect = async (url, { qmux, websocket, "tls-fingerprint": hash }) => {
  if (websocket) withoutWebTransport();
  if (qmux !== undefined) offerOnly(qmux);
  session = await Moq.Connection.connect(new URL(url), {
    webtransport: { serverCertificateHashes: [{ value: hash }] },
    websocket: { enabled: websocket },
  });
  window.emit("session", { version: session.version, qmux: qmux ?? null });
};

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

async function digest(payload) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", payload));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Wait until a signal is true. */
async function until(signal) {
  while (!signal.peek()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Publish groups of `{ data, at_us }` once somebody subscribes. */
window.publish = async (name, track, groups) => {
  const broadcast = new Moq.Broadcast.Producer();
  const info = { latencyMax: AGE_MS, timescale: Moq.Time.Timescale(1e6) };
  const producer = broadcast.createTrack(track, info);
  session.publish(Moq.Path.from(name), broadcast);
  window.emit("announced", { broadcast: name });
  await until(producer.used);
  window.emit("used");
  for (const frames of groups) {
    const group = producer.appendGroup();
    for (const [index, frame] of frames.entries()) {
      const payload = bytes(frame.data);
      group.writeFrame({ payload, timestamp: Moq.Time.Timestamp.fromMicros(frame.at_us) });
      window.emit("frame", {
        group: group.sequence,
        index,
        size: payload.length,
        sha256: await digest(payload),
        timestamp_us: frame.at_us,
      });
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    group.close();
  }
  producer.close();
  window.emit("written", { groups: groups.length });
};

async function readGroup(group) {
  let index = 0;
  for (;;) {
    const frame = await group.readFrame();
    if (frame === undefined) break;
    window.emit("frame", {
      group: group.sequence,
      index,
      size: frame.payload.length,
      sha256: await digest(frame.payload),
      timestamp_us: Math.round(Number(frame.timestamp.as(Moq.Time.Timescale(1e6)))),
    });
    index += 1;
  }
  window.emit("group", { group: group.sequence, frames: index });
}

/** Read a track to its end, or so many groups of it, each group as it comes. */
window.subscribe = async (name, track, groups = Infinity) => {
  const announced = session.announced();
  for (;;) {
    const event = await announced.next();
    if (event === undefined) throw new Error("the announcements ended");
    if (event.active && event.path === name) break;
  }
  const broadcast = session.consume(Moq.Path.from(name));
  const reading = [];
  const subscriber = broadcast.subscribe(track, { latencyMax: AGE_MS });
  window.emit("subscribed");
  while (reading.length < groups) {
    const group = await subscriber.recvGroup();
    if (group === undefined) break;
    reading.push(readGroup(group));
  }
  await Promise.all(reading);
};

window.leave = () => session.close();
