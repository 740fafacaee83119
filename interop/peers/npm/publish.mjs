// Publish a fake microphone with the element of @moq/publish until stdin ends.

import { open } from "./browser.mjs";
import { emit, main, options, toldToLeave } from "./speech.mjs";

await main(options({ text: ["microphone"] }), async ({ url, name, microphone, ...how }) => {
  const { page, close } = await open({ script: "publish.js", microphone });
  emit("ready", { url });
  await page.evaluate((what) => window.publish(...what), [url, name, how]);
  await toldToLeave();
  await close();
});
