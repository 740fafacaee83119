/**
 * Keeps a connection: dials, notices when it is dead or asked to move, dials again.
 *
 * A browser drops a dead WebTransport session only after 6 to 30 s. So when something waits
 * for the other side and nothing was heard for `STALL_MS`, a second connection is tried beside
 * the first, and whichever answers first is kept. A server that asks to move (GOAWAY) is left once
 * the next one has taken its place.
 */

import { after, pause } from "./clock.js";
import { SessionCode, Unavailable } from "./errors.js";
import { resolvers } from "./streams.js";

/** Silence, while something is waited for, after which a second connection is tried. */
const STALL_MS = 3_000;

/** Silence after which one is tried although nothing is waited for; peers tell every 5 s. */
const IDLE_MS = 12_000;

/** How long a connection is kept beside the one that takes its place. */
const HANDOVER_MS = 5_000;

const CHECK_EVERY_MS = 250;
const PAUSES_MS = [0, 250, 500, 1_000, 2_000];

/** A connection that is replaced when it dies. */
export class Line {
  session = null;
  #dial;
  #attach;
  #tell;
  #isWaiting;
  #settled;
  /** The session that the next one takes the place of, and those that are being left. */
  #former = null;
  #leaving = new Set();
  #closed = false;
  #wake = null;
  #waitingSinceMs = null;

  /**
   * `dial(goaway)` resolves with a session, `goaway` as in a `Session` that asks to move, else null;
   * `attach(session, former)` is called with each one that is taken into use, and starts it, with
   * the one before where that still stands; `settled(ms)` resolves when the latest has taken its
   * place, or after so long; `tell(state, detail)` with "connecting", "open", "reconnecting",
   * "failed", "closed"; `isWaiting()` says whether word from the other side is due.
   */
  constructor({ dial, attach, settled, tell, isWaiting }) {
    this.#dial = dial;
    this.#attach = attach;
    this.#settled = settled;
    this.#tell = tell;
    this.#isWaiting = isWaiting;
  }

  /** Hold the line until `close`, or until dialling can't ever succeed. */
  async run() {
    let failures = 0;
    let everOpen = false;
    const tellWhy = (error) => this.#tell(everOpen ? "reconnecting" : "connecting", { error });
    tellWhy(null);
    while (!this.#closed) {
      let session;
      try {
        session = await this.#dial(null);
      } catch (error) {
        if (this.#closed) break;
        if (error instanceof Unavailable && !everOpen) {
          this.#tell("failed", { error });
          if (error.what !== "network") return;
        } else tellWhy(error);
        await this.#pause(PAUSES_MS[Math.min(++failures, PAUSES_MS.length - 1)]);
        continue;
      }
      if (this.#closed) {
        session.close();
        break;
      }
      failures = 0;
      everOpen = true;
      while (session) session = await this.#use(session);
      if (!this.#closed) tellWhy(null);
    }
    this.#tell("closed", {});
  }

  close() {
    this.#closed = true;
    for (const session of [this.session, ...this.#leaving]) session?.close();
    this.#wake?.();
  }

  /** Try again at once instead of after a pause. */
  hurry() {
    this.#wake?.();
  }

  /** Use a session until it is over; resolves with the one that took its place, if any. */
  async #use(session) {
    this.session = session;
    this.#tell("open", { session });
    const former = this.#former;
    this.#former = null;
    this.#attach(session, former);
    if (former) void this.#leave(former);
    let rival = null;
    let moves = false;
    while (!session.isClosed) {
      const news = moves ? rival.told : session.askedToMove;
      await Promise.race([session.closed, news, pause(CHECK_EVERY_MS)]);
      if (session.isClosed || this.#closed) break;
      if (session.goaway !== null) {
        if (rival?.session) {
          this.#former = session;
          return rival.session;
        }
        if (!rival || rival.failed) rival = this.#rival(moves ? null : session.goaway);
        moves = true;
      } else if (!this.#isSilent(session)) {
        rival?.drop();
        rival = null;
      } else if (rival?.session) {
        session.close(SessionCode.MOVED, "replaced by a live connection");
        return rival.session;
      } else if (!rival || rival.failed) {
        if (!rival) this.#tell("reconnecting", { error: null });
        rival = this.#rival();
      }
    }
    this.session = null;
    if (rival?.session && !this.#closed) return rival.session;
    rival?.drop();
    return null;
  }

  /** Close a session once the next one has taken its place. */
  async #leave(session) {
    this.#leaving.add(session);
    await Promise.race([this.#settled(HANDOVER_MS), session.closed]);
    this.#leaving.delete(session);
    session.close(SessionCode.MOVED, "moved to another connection");
  }

  #isSilent(session) {
    const now = performance.now();
    this.#waitingSinceMs = this.#isWaiting() ? (this.#waitingSinceMs ?? now) : null;
    const waits = this.#waitingSinceMs !== null;
    const silent =
      now - session.lastHeardMs > IDLE_MS ||
      (waits && now - Math.max(session.lastHeardMs, this.#waitingSinceMs) > STALL_MS);
    if (!silent && session.wasSilent) this.#tell("open", { session });
    session.wasSilent = silent;
    return silent;
  }

  /** A second connection under way: `session` once it stands, `failed` if it can't; then `told`. */
  #rival(goaway = null) {
    const told = resolvers();
    const rival = { session: null, failed: false, dropped: false, told: told.promise };
    rival.drop = () => {
      rival.dropped = true;
      rival.session?.close();
    };
    this.#dial(goaway).then(
      (session) => {
        rival.session = session;
        if (rival.dropped) session.close();
        told.resolve();
      },
      () => after(PAUSES_MS[2], () => {
        rival.failed = true;
        told.resolve();
      }),
    );
    return rival;
  }

  async #pause(ms) {
    await new Promise((resolve) => {
      const cancel = after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = null;
  }
}
