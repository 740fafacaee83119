/** The URLs that lead to the same agent, and which of them to try next. */

import { race } from "./dial.js";

/** How long a URL has for its answer until the next one is tried beside it. */
const HEDGE_MS = 1_000;

/** URLs remembered, those that servers pointed to included. */
export const MAX_URLS = 16;

/** Schemes that a server may point to; its own are another notation for ours. */
const SCHEMES = { "https:": "https:", "moqt:": "https:", "wss:": "https:" };

/** One or more URLs of the same agent, the first wanted most. */
export class Ways {
  #urls;

  /** `urls` is one or a list. */
  constructor(urls) {
    this.#urls = [urls].flat().map(String).slice(0, MAX_URLS);
    if (!this.#urls.length) throw new TypeError("no URL to connect to");
  }

  /** In the order of trying. */
  get urls() {
    return [...this.#urls];
  }

  /**
   * Try one after the other with `dial(url)`; resolves with what the first gives that answers, and
   * begins with that the next time. A server that asked to move has told `goaway`: there first,
   * "" for anywhere else.
   */
  async open(dial, goaway = null) {
    if (goaway !== null) this.#move(goaway);
    const attempts = this.#urls.map((url) => [url, () => dial(url)]);
    const { name, made } = await race(attempts, HEDGE_MS);
    const at = this.#urls.indexOf(name);
    if (at > 0) this.#urls.unshift(...this.#urls.splice(at));
    return made;
  }

  #move(goaway) {
    const there = pointed(goaway);
    if (there === null) this.#urls.push(this.#urls.shift());
    else this.#urls = [there, ...this.#urls.filter((url) => url !== there)].slice(0, MAX_URLS);
  }
}

/** Where a server points to, as we dial it; null when that is nowhere we can go. */
function pointed(uri) {
  const found = /^(\w+:)(\/\/.+)$/.exec(uri);
  const address = found && SCHEMES[found[1]] ? `${SCHEMES[found[1]]}${found[2]}` : null;
  return address && URL.canParse?.(address) !== false ? address : null;
}
