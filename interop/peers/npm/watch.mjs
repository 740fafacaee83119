// Listen with the element of @moq/watch, and store the last seconds of what it put out.

import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { open } from "./browser.mjs";
import { emit, main, options } from "./speech.mjs";

const POLL_MS = 100;
const SETTLE_MS = 1500;

const args = options({ text: ["pcm", "seconds"] });

await main(args, async ({ url, name, pcm, seconds = "2", ...how }) => {
  const { page, close } = await open({ script: "watch.js", websocket: how.websocket });
  await page.evaluate((what) => window.watch(...what), [url, name, how]);
  emit("ready", { url });
  const progress = () => page.evaluate(() => window.progress());
  let first = null;
  for (;;) {
    const now = await progress();
    if (first === null && now.bytes > 0 && now.timestamp_ms > 0) {
      first = now;
      emit("playing", first);
    }
    // The element's clock jumps when it goes on with what is newest, and the beginning, where it
    // does, must not be in what is judged: that much was also put out.
    const since = (what) => (first === null ? 0 : now[what] - first[what]);
    const played_ms = Math.min(since("timestamp_ms"), since("sounding_ms"));
    if (played_ms >= SETTLE_MS + 1000 * Number(seconds)) {
      emit("played", now);
      break;
    }
    await sleep(POLL_MS);
  }
  const heard = await page.evaluate((seconds) => window.heard(seconds), Number(seconds));
  await writeFile(pcm, Buffer.from(Int16Array.from(heard.pcm).buffer));
  emit("heard", { rate: heard.rate, samples: heard.pcm.length });
  await close();
});
