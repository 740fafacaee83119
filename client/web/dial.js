/** Opens the connection that a session runs on; whoever takes the session starts it. */

import { Unavailable } from "./errors.js";
import { Session } from "./session.js";
import { ALPNS, versionOf } from "./version.js";

/** How long a handshake may take; UDP that is blocked answers nothing at all. */
export const DIAL_TIMEOUT_MS = 8_000;

/** A hash as 64 hex digits or bytes, to bytes. */
export function hashBytes(hash) {
  if (typeof hash !== "string") return hash;
  const digits = hash.replaceAll(":", "").trim();
  if (!/^[0-9a-f]{64}$/i.test(digits)) {
    throw new Unavailable("certificate", `"${hash}" is no SHA-256 in hex`);
  }
  return Uint8Array.from(digits.match(/../g), (pair) => Number.parseInt(pair, 16));
}

/** The URL that is dialled: the token goes where relays look for it. */
export function addressOf(url, token) {
  const address = new URL(url);
  if (token) address.searchParams.set("jwt", token);
  address.hash = "";
  return address.href;
}

/**
 * Dial over WebTransport for a session that publishes `origin`.
 *
 * Throws Unavailable: "webtransport" where the browser has none, "protocols" where it can't
 * agree on a version, "network" when nothing answers.
 */
export async function dial(url, { origin, originId, certificateHashes = [], token = "",
  versions = ALPNS, timeoutMs = DIAL_TIMEOUT_MS } = {}) {
  if (typeof WebTransport !== "function") {
    throw new Unavailable("webtransport", "this browser has no WebTransport");
  }
  const options = { protocols: [...versions], congestionControl: "low-latency" };
  if (certificateHashes.length) {
    options.serverCertificateHashes = certificateHashes.map((hash) => ({
      algorithm: "sha-256",
      value: hashBytes(hash),
    }));
  }
  const transport = new WebTransport(addressOf(url, token), options);
  await shaken(transport, timeoutMs);
  if (!versions.includes(transport.protocol)) {
    transport.close();
    throw new Unavailable("protocols",
      `no common version: offered ${versions.join(", ")}, agreed on "${transport.protocol ?? ""}"`);
  }
  return new Session(transport, versionOf(transport.protocol), origin, { originId });
}

async function shaken(transport, timeoutMs) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  transport.closed.catch(() => {});
  try {
    await Promise.race([transport.ready, late]);
  } catch (error) {
    try {
      transport.close();
    } catch {
      // It never opened.
    }
    throw new Unavailable("network", `can't connect: ${error.message}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
