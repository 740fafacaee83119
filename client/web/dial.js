/**
 * Opens the connection that a session runs on; whoever takes the session starts it.
 *
 * WebTransport and WebSocket are raced, WebTransport with a head start: where UDP is blocked it
 * gets no answer at all. Where WebSocket had to stand in, it has no handicap the next time.
 */

import { after } from "./clock.js";
import { Unavailable } from "./errors.js";
import { Session } from "./session.js";
import { ALPNS, versionOf } from "./version.js";
import { WebSocketTransport } from "./websocket.js";

/** How long a handshake may take. */
const DIAL_TIMEOUT_MS = 8_000;

/** WebTransport's lead; its handshake takes about two round trips, so this is a slow path. */
const HEAD_START_MS = 600;

/** How long it is remembered that WebSocket had to stand in. */
const REMEMBERED_MS = 3_600_000;

/** The ways to a server, the one to prefer first. */
export const CARRIERS = Object.freeze(["webtransport", "websocket"]);

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

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/**
 * The same for a WebSocket, which can't pin certificates. So to this machine, where nobody is
 * on the way, it goes without TLS if the certificate is self-signed.
 */
export function socketAddressOf(url, token, { certificateHashes = [], pageScheme = "" } = {}) {
  const address = new URL(addressOf(url, token));
  const isPlain =
    certificateHashes.length && LOOPBACK.test(address.hostname) && pageScheme !== "https:";
  address.protocol = isPlain ? "ws:" : "wss:";
  return address.href;
}

/**
 * Dial for a session that publishes `origin`. `carriers` restricts how; the session's `carrier`
 * tells what it became, `instead` why it is not WebTransport. `namedProtocol` says that the server
 * is a moqvox, which finds the version in the query: Firefox's WebTransport has no `protocols`.
 *
 * Throws Unavailable: "webtransport" where the browser has none and nothing else is allowed,
 * "protocols" where no version is common, "network" when nothing answers.
 */
export async function dial(url, { origin, originId, certificateHashes = [], token = "",
  versions = ALPNS, carriers = CARRIERS, namedProtocol = false, timeoutMs = DIAL_TIMEOUT_MS,
  headStartMs = HEAD_START_MS } = {}) {
  const memory = memoryOf(url);
  const options = { certificateHashes, token, versions, namedProtocol, timeoutMs };
  const attempts = {
    webtransport: () => webTransport(url, options),
    websocket: () => webSocket(url, options),
  };
  const leadMs = memory.hasWebSocket ? 0 : headStartMs;
  const { name: carrier, made: transport, failures } = await race(
    CARRIERS.filter((name) => carriers.includes(name)).map((name) => [name, attempts[name]]),
    leadMs,
  );
  const session = new Session(transport, versionOf(transport.protocol), origin, { originId });
  session.carrier = carrier;
  if (carriers.length > 1) memory.note(carrier);
  session.instead = carrier === "webtransport" ? null
    : (failures.webtransport?.message ?? "WebTransport has not answered in time");
  return session;
}

/**
 * The first of several attempts `[name, attempt]` that makes something, each `leadMs` after the
 * one before or at once if that fails; what comes later is closed.
 */
export async function race(attempts, leadMs) {
  const failures = {};
  let won = false;
  const run = async (at, before) => {
    const [name, attempt] = attempts[at];
    let cancel;
    const turn = new Promise((go) => (cancel = after(leadMs * at, go)));
    await Promise.race([turn, before]);
    cancel();
    if (won) throw new Error("not tried");
    try {
      const made = await attempt();
      if (won) made.close();
      return { name, made, failures };
    } catch (error) {
      failures[name] = error;
      throw error;
    }
  };
  let before = new Promise(() => {});
  const running = attempts.map((_, at) => {
    const mine = run(at, before).then((winner) => {
      won = true;
      return winner;
    });
    before = mine.then(() => new Promise(() => {}), () => {});
    return mine;
  });
  try {
    return await Promise.any(running);
  } catch {
    throw worst(Object.values(failures));
  }
}

/** Of several failures the one that tells most: what a server said, then the first silence. */
const worst = (failures) =>
  failures.find(({ what }) => what === "protocols" || what === "certificate") ??
  failures.find(({ what }) => what === "network") ?? failures[0];

async function webTransport(url, options) {
  const { certificateHashes, token, versions, namedProtocol, timeoutMs } = options;
  if (typeof WebTransport !== "function") {
    throw new Unavailable("webtransport", "this browser has no WebTransport");
  }
  const address = new URL(addressOf(url, token));
  const negotiates = "protocol" in WebTransport.prototype;
  if (!negotiates && !namedProtocol) {
    throw new Unavailable("webtransport", "this browser's WebTransport negotiates no version");
  }
  if (!negotiates) address.searchParams.set("wt-protocol", versions[0]);
  const wanted = { protocols: [...versions], congestionControl: "low-latency" };
  if (certificateHashes.length) {
    wanted.serverCertificateHashes = certificateHashes.map((hash) => ({
      algorithm: "sha-256",
      value: hashBytes(hash),
    }));
  }
  const transport = new WebTransport(address.href, wanted);
  // A server that does not speak what was named has refused the session.
  if (!negotiates) transport.protocol = versions[0];
  return agreed(transport, versions, timeoutMs);
}

async function webSocket(url, { certificateHashes, token, versions, timeoutMs }) {
  const pageScheme = globalThis.location?.protocol;
  const address = socketAddressOf(url, token, { certificateHashes, pageScheme });
  const transport = new WebSocketTransport(address, { protocols: [...versions] });
  return agreed(transport, versions, timeoutMs);
}

/** Wait until a transport stands, and see to it that it speaks one of `versions`. */
async function agreed(transport, versions, timeoutMs) {
  await shaken(transport, timeoutMs);
  if (versions.includes(transport.protocol)) return transport;
  transport.close();
  const found = transport.protocol ?? "";
  throw new Unavailable("protocols",
    `no common version: offered ${versions.join(", ")}, agreed on "${found}"`);
}

async function shaken(transport, timeoutMs) {
  let cancel;
  const late = new Promise((_, reject) => {
    cancel = after(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs} ms`)));
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
    cancel();
  }
}

/** What was learned about a server before: `hasWebSocket`, and `note(carrier)`. */
function memoryOf(url) {
  const key = `moqvox.carrier.${new URL(url).host}`;
  return {
    get hasWebSocket() {
      try {
        return Date.now() - Number(localStorage.getItem(key) ?? 0) < REMEMBERED_MS;
      } catch {
        return false; // no storage here, or none allowed
      }
    },
    note(carrier) {
      try {
        if (carrier === "webtransport") localStorage.removeItem(key);
        else localStorage.setItem(key, String(Date.now()));
      } catch {
        // As above: then every call begins with WebTransport's head start.
      }
    },
  };
}
