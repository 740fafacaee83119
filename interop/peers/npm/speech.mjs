// What every program for the npm packages shares: JSON lines, time limit, exit codes.

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

export const FAILED = 1;
export const USAGE = 2;
export const TIMED_OUT = 4;

/** Print one JSON object on a line of its own, at once. */
export function emit(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

/** Read `URL NAME` and options, those that every program has besides. */
export function options({ text = [], switches = [] } = {}) {
  const known = {
    limit: { type: "string", default: "60" },
    "tls-fingerprint": { type: "string" },
    websocket: { type: "boolean", default: false },
  };
  for (const name of text) known[name] = { type: "string" };
  for (const name of switches) known[name] = { type: "boolean", default: false };
  const { values, positionals } = parseArgs({ options: known, allowPositionals: true });
  if (positionals.length < 1) throw new Error("usage: URL [NAME] [options]");
  return { url: positionals[0], name: positionals[1] ?? "", ...values };
}

/** Wait for the end of stdin, the order to leave. */
export async function toldToLeave() {
  for await (const _line of createInterface({ input: process.stdin }));
}

/** Run a program to its end and leave the process with its exit code. */
export async function main(args, run) {
  const limit = setTimeout(() => {
    emit("error", { kind: "timeout", message: `nothing more happened in ${args.limit} s` });
    process.exit(TIMED_OUT);
  }, 1000 * Number(args.limit));
  try {
    await run(args);
    clearTimeout(limit);
    emit("done");
    process.exit(0);
  } catch (error) {
    emit("error", { kind: error.name, message: String(error.message).slice(0, 2000) });
    process.exit(FAILED);
  }
}
