/** The vectors that Python and JavaScript share, with their names as JavaScript spells them. */

import { readFileSync } from "node:fs";

const FOLDER = new URL("../vectors/", import.meta.url);

/** Read one file of vectors. */
export const load = (name) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8"));

export const bytesOf = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
export const hexOf = (bytes) => Buffer.from(bytes).toString("hex");

const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

/** Spell every key of a JSON value in camelCase; numbers written as strings become numbers. */
export function camelKeys(value) {
  if (Array.isArray(value)) return value.map(camelKeys);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [camel(key), camelKeys(inner)]),
  );
}
