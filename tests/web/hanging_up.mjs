/** Hangs calls up when their test is over: one that goes on redialling keeps node from leaving. */

import { afterEach } from "node:test";

const open = new Set();

/** Hang a call up after the test that it is made in, whether that passes or not. */
export function hungUpAfter(call) {
  open.add(call);
  return call;
}

afterEach(async () => {
  const calls = [...open];
  open.clear();
  for (const call of calls) await call.hangUp({ lastWordsMs: 0 });
});
