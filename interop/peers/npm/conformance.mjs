// Put a WebTransport server through the checks of `pages/conformance.js`, in Chromium.

import { open } from "./browser.mjs";
import { emit, main, options } from "./speech.mjs";

await main(options(), async ({ url, "tls-fingerprint": hash }) => {
  const { page, close } = await open({ script: "conformance.js" });
  emit("ready", { url });
  await page.evaluate((where) => window.conform(where), { url, hash });
  await close();
});
