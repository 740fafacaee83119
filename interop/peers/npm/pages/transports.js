// Which of its transports a page's MoQ client may use. Imported first, before the client.

const WEBSOCKETS = ["WebSocket", "WebSocketStream"];

/** Leave the client no WebTransport, as in Safari or behind a firewall. */
export function withoutWebTransport() {
  delete window.WebTransport;
}

/** Let the client offer only those WebSocket subprotocols that begin so: one version of QMux. */
export function offerOnly(prefix) {
  const chosen = (names) => names.filter((name) => name.startsWith(prefix));
  for (const name of WEBSOCKETS) {
    const Native = window[name];
    if (Native === undefined) continue;
    window[name] = class extends Native {
      constructor(url, given) {
        const more = Array.isArray(given)
          ? chosen(given)
          : { ...given, protocols: chosen(given.protocols) };
        super(url, more);
      }
    };
  }
}
