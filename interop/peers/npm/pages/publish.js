// The custom element of @moq/publish, with the microphone alone.

import "@moq/publish/element";

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
};
