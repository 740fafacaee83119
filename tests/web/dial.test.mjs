// How the connection is dialled where WebTransport lacks something.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Origin } from "../../client/web/broadcast.js";
import { dial } from "../../client/web/dial.js";

/** A WebTransport that stands at once, and notes what it was asked. */
function fakeTransport({ negotiates }) {
  const asked = [];
  class Fake {
    ready = Promise.resolve();
    closed = new Promise(() => {});
    constructor(url, options) {
      asked.push({ url, options });
      if (negotiates) this.agreed = options.protocols[1];
    }
    close() {}
  }
  if (negotiates) {
    Object.defineProperty(Fake.prototype, "protocol", {
      get() {
        return this.agreed;
      },
    });
  }
  return { Fake, asked };
}

async function dialled(options, how) {
  const { Fake, asked } = fakeTransport(how);
  globalThis.WebTransport = Fake;
  try {
    const session = await dial("https://agent.test/room?x=1", {
      origin: new Origin(), originId: 1, carriers: ["webtransport"], ...options,
    });
    return { session, asked };
  } finally {
    delete globalThis.WebTransport;
  }
}

test("a WebTransport that negotiates is offered all versions", async () => {
  const { session, asked } = await dialled({ namedProtocol: true }, { negotiates: true });
  assert.equal(asked[0].url, "https://agent.test/room?x=1");
  assert.equal(session.version.alpn, asked[0].options.protocols[1]);
});

test("one that does not names the first version in the query of a moqvox server", async () => {
  const { session, asked } = await dialled(
    { namedProtocol: true, versions: ["moq-lite-05", "moq-lite-04"] }, { negotiates: false },
  );
  assert.equal(asked[0].url, "https://agent.test/room?x=1&wt-protocol=moq-lite-05");
  assert.equal(session.version.alpn, "moq-lite-05");
});

test("one that does not is left alone where the server is not known to look there", async () => {
  await assert.rejects(dialled({}, { negotiates: false }), { what: "webtransport" });
});
