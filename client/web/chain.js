/**
 * Proves that a leg's caller is the one of the leg before: a hash chain, shown one link at a time
 * (docs/voice-protocol.md, "The token"). A token is worthless once it was shown.
 */

/** Legs that one chain proves. The agent hashes at most 1,024 times. */
const MAX_LEGS = 512;

const hexOf = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Tokens of a call's legs, each of which proves only the ones before it. */
export class Chain {
  #links;

  constructor(links) {
    this.#links = links;
  }

  /** Make one: a random last link, every other one the hash of the one behind it. */
  static async make(legs = MAX_LEGS) {
    const links = [crypto.getRandomValues(new Uint8Array(32))];
    while (links.length < legs) {
      links.push(new Uint8Array(await crypto.subtle.digest("SHA-256", links.at(-1))));
    }
    return new Chain(links.reverse());
  }

  get length() {
    return this.#links.length;
  }

  /** What leg `number` shows, in hex. */
  token(number) {
    return hexOf(this.#links[number]);
  }
}
