/**
 * moq-lite versions as rows of named capabilities, as in moqvox/wire/version.py: code asks a
 * row what it can do, and only this file knows versions by number.
 */

import { LocalError } from "./errors.js";

const lite06 = Object.freeze({
  alpn: "moq-lite-06",
  setup: true,
  announceOk: true,
  announceTyped: true,
  announceReplaces: true,
  hopLists: true,
  excludeHop: false,
  trackStream: true,
  endMessage: true,
  orderedField: false,
  startIsFloor: true,
  frameRanges: true,
  timestamps: true,
  probeLevel: true,
  probeRtt: true,
  goaway: true,
});

const lite05 = Object.freeze({
  ...lite06,
  alpn: "moq-lite-05",
  announceTyped: false,
  excludeHop: true,
  orderedField: true,
  startIsFloor: false,
  frameRanges: false,
});

const lite04 = Object.freeze({
  ...lite05,
  alpn: "moq-lite-04",
  setup: false,
  announceOk: false,
  announceReplaces: false,
  trackStream: false,
  endMessage: false,
  timestamps: false,
  probeLevel: false,
});

const lite03 = Object.freeze({
  ...lite04,
  alpn: "moq-lite-03",
  hopLists: false,
  excludeHop: false,
  probeRtt: false,
  goaway: false,
});

/** All of them, the one to prefer first. */
export const VERSIONS = Object.freeze([lite06, lite05, lite04, lite03]);

/** Names to offer in WebTransport's `protocols`. */
export const ALPNS = Object.freeze(VERSIONS.map((version) => version.alpn));

/** Look a version up by its name; throws LocalError for one that is not known. */
export function versionOf(alpn) {
  const version = VERSIONS.find((each) => each.alpn === alpn);
  if (!version) {
    throw new LocalError(`unknown moq-lite version "${alpn}"; known: ${ALPNS.join(", ")}`);
  }
  return version;
}
