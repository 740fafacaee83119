// The custom element of @moq/publish, with the microphone alone.

import "@moq/publish/element";

/** On a busy machine the element opens the microphone twice, and all it published begins anew. */
const STEADY_MS = 1000;

window.publish = (url, name, { "tls-fingerprint": hash }) => {
  const element = document.createElement("moq-publish");
  element.setAttribute("name", name);
  element.setAttribute("source", "camera");
  element.setAttribute("invisible", "");
  element.append(document.createElement("video"));
  element.connection.webtransport = { serverCertificateHashes: [{ value: hash }] };
  element.setAttribute("url", url);
  document.body.append(element);
  element.signals.run((effect) => {
    const session = effect.get(element.connection.established);
    if (session !== undefined) window.emit("session", { version: session.version });
  });
  element.signals.run((effect) => {
    if (effect.get(element.broadcast.audio.root) === undefined) return;
    window.emit("capturing", {});
    const timer = setTimeout(() => window.emit("steady", {}), STEADY_MS);
    effect.cleanup(() => clearTimeout(timer));
  });
};
