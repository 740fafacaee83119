// The folder as a package: what is packed, what is exported, what its types tell.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const WEB = fileURLToPath(new URL("../../client/web/", import.meta.url));
const read = (name) => readFileSync(join(WEB, name), "utf8");
const about = JSON.parse(read("package.json"));

const importsOf = (name) =>
  [...read(name).matchAll(/(?:from |import )"\.\/([^"]+)"|new URL\("\.\/([^"]+)"/g)]
    .map(([, imported, url]) => imported ?? url);

test("everything that is exported is there, and so is all that it needs", () => {
  const needed = new Set(Object.values(about.exports).flatMap((entry) =>
    typeof entry === "string" ? [entry] : Object.values(entry)).map((name) => name.slice(2)));
  for (const name of needed) {
    assert.ok(existsSync(join(WEB, name)), `${name} is not there`);
    if (name.endsWith(".js")) for (const other of importsOf(name)) needed.add(other);
  }
  assert.ok(needed.has("clock-worker.js"));
  assert.ok(!needed.has("page.js"));
});

test("the types name what the module exports, no more and no less", async () => {
  const exported = Object.keys(await import("../../client/web/moqvox.js")).sort();
  const typed = [...read("moqvox.d.ts").matchAll(/^export (?:class|function|const) (\w+)/gm)]
    .map(([, name]) => name).sort();
  assert.deepEqual(typed, exported);
});

test("methods that the types tell of are the class's", async () => {
  const { VoiceCall } = await import("../../client/web/moqvox.js");
  const [, body] = read("moqvox.d.ts").match(/class VoiceCall extends EventTarget \{(.*?)\n\}/s);
  const methods = [...body.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name);
  assert.ok(methods.length >= 8);
  for (const name of methods) assert.equal(typeof VoiceCall.prototype[name], "function", name);
});

test("what npm packs can be imported by its name", () => {
  const folder = mkdtempSync(join(tmpdir(), "moqvox-"));
  try {
    const quiet = { cwd: folder, stdio: ["ignore", "pipe", "ignore"] };
    const told = execFileSync("npm", ["pack", WEB, "--json", "--offline", "--cache", folder], quiet);
    const [{ filename, files }] = JSON.parse(told);
    const names = files.map(({ path }) => path);
    assert.ok(names.includes("moqvox.d.ts") && names.includes("playout-worklet.js"));
    assert.ok(!names.includes("page.js"), "the page is no part of the package");
    execFileSync("mkdir", ["-p", "node_modules/moqvox"], quiet);
    execFileSync("tar", ["xzf", filename, "-C", "node_modules/moqvox", "--strip-components=1"], quiet);
    const source = 'import { ALPNS, connect } from "moqvox"; console.log(typeof connect, ALPNS[0])';
    const said = execFileSync("node", ["--input-type=module", "-e", source], quiet);
    assert.equal(said.toString(), "function moq-lite-06\n");
    assert.ok(readdirSync(join(folder, "node_modules/moqvox")).includes("talk.js"));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
