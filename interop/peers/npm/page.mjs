// Our own page's client, in Chromium, with another's server: speak packets, hear the answer.

import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { open } from "./browser.mjs";
import { emit, main, options } from "./speech.mjs";

const WEB = fileURLToPath(new URL("../../../client/web/", import.meta.url));
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** Serve the client's modules, and at `/` a page without any. */
async function answer(path) {
  if (path === "/") return ["text/html", "<!doctype html><title>call</title>"];
  const type = TYPES[extname(path)];
  if (type === undefined) return null;
  try {
    return [type, await readFile(join(WEB, normalize(path)))];
  } catch {
    return null;
  }
}

/** In the page: speak all packets, and wait for the receipt and one whole answer. */
async function talk({ url, hash, version, packets }) {
  const { connect } = await import("/moqvox.js");
  const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
  const digest = async (bytes) => hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
  const call = connect(url, { certificateHashes: [hash], versions: [version], bargeIn: false });
  call.addEventListener("state", ({ detail }) => window.emit("state", { state: detail.state }));
  const speech = call.speak({ source: "packets" });
  for (const packet of packets) {
    speech.write(Uint8Array.from(atob(packet), (c) => c.charCodeAt(0)));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  speech.finish();
  const receipt = await speech.receipted;
  const { version: spoken, carrier } = call.session;
  window.emit("session", { version: spoken.alpn ?? String(spoken), carrier });
  window.emit("receipt", { frames: receipt.frames, intact: speech.intact });
  for await (const response of call.answers()) {
    for await (const { packet } of response) {
      window.emit("packet", { size: packet.length, sha256: await digest(packet) });
    }
    break;
  }
  await call.hangUp();
}

await main(options({ text: ["recipe", "version"] }), async ({ url, recipe, version, ...how }) => {
  const lines = (await readFile(recipe, "utf8")).split("\n").map((line) => JSON.parse(line));
  const packets = lines.filter(({ event }) => event === "packet").map(({ data }) => data);
  const { page, close } = await open({ answer });
  emit("ready", { url });
  await page.evaluate(talk, { url, hash: how["tls-fingerprint"], version, packets });
  await close();
});
