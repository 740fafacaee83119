// Chromium with one page of ours, bundled with the npm packages it imports.

import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { emit } from "./speech.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
// The packages are installed elsewhere; the harness says where.
const MODULES = process.env.INTEROP_NODE_MODULES;
const require = createRequire(join(MODULES, "package.json"));

const FLAGS = [
  "--no-sandbox",
  "--disable-dev-shm-usage",
  "--disable-gpu",
  "--mute-audio",
  "--autoplay-policy=no-user-gesture-required",
  "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream",
];

/** Turn a module of `pages/` into one script, with all that it imports. */
async function bundle(name) {
  const { build } = require("esbuild");
  const { outputFiles } = await build({
    entryPoints: [join(HERE, "pages", name)],
    bundle: true,
    format: "esm",
    target: "chrome120",
    nodePaths: [MODULES],
    write: false,
    logLevel: "error",
  });
  return outputFiles[0].text;
}

/** Serve what `answer(path)` returns, `[content type, body]` or null, on a port of localhost. */
async function serve(answer) {
  const server = createServer(async (request, response) => {
    const found = await answer(new URL(request.url, "http://localhost").pathname);
    if (found === null) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "Content-Type": found[0], "Cache-Control": "no-store" });
    response.end(found[1]);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() };
}

/**
 * Open a page that runs `script` (a module of `pages/`), or what `answer` serves at `/`.
 * What the page logs as a warning or worse goes to stderr.
 */
export async function open({ script, answer, microphone, websocket = false }) {
  const { chromium } = require("playwright-core");
  const code = script === undefined ? "" : await bundle(script);
  const site = await serve(async (path) => {
    if (script !== undefined && path === "/page.js") return ["text/javascript", code];
    if (path === "/favicon.ico") return ["image/png", ""];
    if (script !== undefined && path === "/") {
      return ["text/html", '<!doctype html><body><script type="module" src="/page.js"></script>'];
    }
    return answer === undefined ? null : answer(path);
  });
  const args = [...FLAGS];
  // Unlike WebTransport's, a WebSocket's certificate can't be pinned by a page.
  if (websocket) args.push("--ignore-certificate-errors");
  if (microphone !== undefined) args.push(`--use-file-for-fake-audio-capture=${microphone}`);
  const browser = await chromium.launch({ executablePath: process.env.INTEROP_CHROMIUM, args });
  const context = await browser.newContext({ permissions: ["microphone"] });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() !== "debug") console.error(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => console.error(`uncaught: ${error.stack ?? error}`));
  await page.exposeFunction("emit", emit);
  await page.goto(site.url);
  const close = async () => {
    await browser.close();
    site.close();
  };
  return { page, close };
}
