// Publish or read frames that prove where they belong, with @moq/net.
//
// The payloads are those of `interop/payload.py`: every byte follows from generation, group
// and index.

import { createHash } from "node:crypto";

import { open } from "./browser.mjs";
import { emit, main, options, toldToLeave } from "./speech.mjs";

const SIZES = [160, 1, 1200, 0, 40, 5000, 333, 70_000];
const FRAME_US = 20_000;
const GROUPS = 6;
const FRAMES = 16;
const TRACK = "data";

function payload(generation, group, index) {
  const size = SIZES[index % SIZES.length];
  const head = Buffer.alloc(12);
  head.writeUInt32BE(generation, 0);
  head.writeUInt32BE(group, 4);
  head.writeUInt32BE(index, 8);
  if (size <= head.length) return head.subarray(head.length - size);
  const rest = createHash("shake128", { outputLength: size - head.length }).update(head).digest();
  return Buffer.concat([head, rest]);
}

const groups = () =>
  Array.from({ length: GROUPS }, (_, group) =>
    Array.from({ length: FRAMES }, (_, index) => ({
      data: payload(1, group, index).toString("base64"),
      at_us: (group * FRAMES + index) * FRAME_US,
    })),
  );

const args = options({ text: ["qmux", "groups"], switches: ["publish"] });

await main(args, async ({ url, name, publish, groups: count, ...how }) => {
  const { page, close } = await open({ script: "frames.js", websocket: how.websocket });
  await page.evaluate((what) => window.connect(...what), [url, how]);
  emit("ready", { url });
  if (publish) {
    const what = [name, TRACK, groups()];
    await page.evaluate((what) => window.publish(...what), what);
    await toldToLeave();
  } else {
    const what = count === undefined ? [name, TRACK] : [name, TRACK, Number(count)];
    await page.evaluate((what) => window.subscribe(...what), what);
  }
  await page.evaluate(() => window.leave());
  await close();
});
