/**
 * Timers that keep time in a hidden tab. Browsers slow a hidden page's own to one a second, after
 * minutes to one a minute; those of a worker go on, so each timer is set in both, and the first
 * to ring counts. Where no worker can be had (a module from another origin), the page's own is all.
 */

/** undefined before it was tried, null where it can't be had. */
let worker;
let count = 0;
const ringing = new Map();

function ticker() {
  if (worker !== undefined) return worker;
  worker = null;
  if (typeof Worker !== "function" || !globalThis.document) return worker;
  try {
    worker = new Worker(new URL("./clock-worker.js", import.meta.url));
    worker.onmessage = ({ data }) => ringing.get(data)?.();
  } catch {
    // The page's own timers stay.
  }
  return worker;
}

/** Call `run` after so many milliseconds, once; returns a function that takes it back. */
export function after(ms, run) {
  const id = count++;
  const cancel = () => {
    if (!ringing.delete(id)) return;
    clearTimeout(timer);
    ticker()?.postMessage({ id });
  };
  const ring = () => {
    cancel();
    run();
  };
  const timer = setTimeout(ring, ms);
  ringing.set(id, ring);
  ticker()?.postMessage({ id, ms });
  return cancel;
}

/** Resolves after so many milliseconds. */
export const pause = (ms) => new Promise((done) => after(ms, done));
