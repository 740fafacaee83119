/**
 * Events that must not be lost: numbered, kept until the other side has noted them, told again
 * on the next leg; and taken once (docs/voice-protocol.md, "Events").
 */

/** Events that wait to be noted; with more the oldest is lost. */
export const MAX_UNNOTED = 256;

const NUMBERED = new Set(["receipt", "interrupt", "cancel", "caption", "message"]);

/** Events by number: what the other side has not noted, and what was taken from it. */
export class Ledger {
  /** The last number of the other side's that was taken, 0 before the first. */
  taken = 0;
  #last = 0;
  #unnoted = [];

  /** Number an event of ours, if it is one that must not be lost, and keep it. */
  enter(event, nowMs) {
    const { type, state } = event;
    if (!NUMBERED.has(type) && (type !== "heard" || state === "playing")) return event;
    const numbered = { ...event, n: ++this.#last };
    this.#unnoted.push({ event: numbered, ms: nowMs });
    if (this.#unnoted.length > MAX_UNNOTED) this.#unnoted.shift();
    return numbered;
  }

  /** The other side has taken everything up to `n`. */
  noted(n) {
    this.#unnoted = this.#unnoted.filter(({ event }) => event.n > n);
  }

  /** What is to be told again, in order. */
  unnoted() {
    return this.#unnoted.map(({ event }) => event);
  }

  /** For an agent that notes nothing: keep only messages, and of those what is later than this. */
  settle(beforeMs) {
    this.#unnoted = this.#unnoted.filter(({ event, ms }) => event.type === "message" && ms > beforeMs);
  }

  /** Whether an event of the other side's is new; those without a number always are. */
  take({ n }) {
    if (typeof n !== "number") return true;
    if (n <= this.taken) return false;
    this.taken = n;
    return true;
  }
}
