/** The page around `<moqvox-talk>`: instruments that show what the transport does. */

import { oggOpus } from "./moqvox.js";
import "./talk.js";
import { momentsOf } from "./turns.js";

const find = (id) => document.getElementById(id);
const talk = find("talk");
const seconds = (us) => (us / 1e6).toFixed(1);

const LADDER = [
  ["connected", "connection stands"],
  ["setup", "MoQ set-up exchanged"],
  ["agent", "agent found"],
];

const CARRIERS = { webtransport: "WebTransport (QUIC)", websocket: "WebSocket (TCP)" };

/** Where to call: the page's own query, or what its server tells. */
async function connection() {
  const query = new URLSearchParams(location.search);
  if (query.has("url")) {
    return {
      url: query.get("url"),
      certificateHashes: query.getAll("hash"),
      token: query.get("token") ?? "",
    };
  }
  const answer = await fetch("connection.json", { cache: "no-store" });
  if (!answer.ok) throw new Error(`the page's server does not tell where to call (${answer.status})`);
  return answer.json();
}

function showBar(id, nearUs, farUs, words) {
  const bar = find(id);
  // The scale grows in steps, so that a bar that fills is seen to fill.
  const scaleUs = Math.max(4e6, 2 ** Math.ceil(Math.log2(Math.max(1, farUs / 1e6))) * 1e6);
  bar.querySelector("i.far").style.width = `${Math.min(100, (100 * farUs) / scaleUs)}%`;
  bar.querySelector("i.near").style.width = `${Math.min(100, (100 * nearUs) / scaleUs)}%`;
  bar.querySelector("output").textContent = words;
  bar.setAttribute("aria-label", `${bar.querySelector("span").textContent}: ${words}`);
}

function showFlow() {
  const turn = talk.turns?.last;
  const speech = turn?.speech;
  if (speech) {
    const ackedUs = Math.min(speech.durationUs, speech.ackedFrames * 20_000);
    const words = `${seconds(ackedUs)} of ${seconds(speech.durationUs)} s acknowledged`;
    showBar("prompt", ackedUs, speech.durationUs, words);
  }
  const response = turn?.responses.at(-1);
  if (response) {
    const playedUs = talk.call?.playback?.positionUs(response) ?? 0;
    const inHand = Math.max(0, response.durationUs - playedUs);
    const over = response.heard && response.heard.state !== "playing";
    const words = over
      ? `${seconds(playedUs)} of ${seconds(response.durationUs)} s heard`
      : `${seconds(playedUs)} of ${seconds(response.durationUs)} s, ${seconds(inHand)} s in hand`;
    showBar("answer", playedUs, response.durationUs, words);
  }
}

/** Rows of name, bar and value; the longest of those with bars has the full width. */
function showRows(list, rows) {
  const longest = Math.max(1, ...rows.filter(({ bar }) => bar).map(({ ms }) => ms));
  list.replaceChildren(...rows.map(({ name, ms, bar, text }) => {
    const row = document.createElement("li");
    const [label, line, value] = ["span", "i", "b"].map((kind) => document.createElement(kind));
    label.textContent = name;
    line.style.width = bar ? `${(100 * ms) / longest}%` : "0";
    line.hidden = !bar;
    value.textContent = text ?? `${Math.round(ms)} ms`;
    row.append(label, line, value);
    return row;
  }));
}

function showLadder(call) {
  const rows = LADDER.filter(([key]) => key in call.marks)
    .map(([key, name]) => ({ name, ms: call.marks[key], bar: true }));
  const { session } = call;
  if (session?.rttMs) rows.push({ name: "round trip", ms: session.rttMs, bar: true });
  if (session) {
    rows.push({ name: "carried by", ms: 0, text: CARRIERS[session.carrier] });
    rows.push({ name: "protocol", ms: 0, text: session.version.alpn });
  }
  if (call.reconnects > 0) rows.push({ name: "reconnected", ms: 0, text: `${call.reconnects} ×` });
  if (rows.length) showRows(find("ladder"), rows);
}

const files = new Map();

function offer(id, packets) {
  const link = find(id);
  link.hidden = !packets.length;
  if (!packets.length || files.get(id)?.count === packets.length) return;
  URL.revokeObjectURL(files.get(id)?.url);
  const url = URL.createObjectURL(new Blob([oggOpus(packets)], { type: "audio/ogg" }));
  files.set(id, { url, count: packets.length });
  link.href = url;
}

function showTurn(turn) {
  if (turn !== talk.turns.last) return;
  const moments = momentsOf(turn);
  if (moments.length) showRows(find("timeline"), moments);
  if (turn.speech?.finished) offer("prompt-ogg", turn.speech.packets);
  const response = turn.responses.at(-1);
  if (response?.over) offer("answer-ogg", response.packets.map(({ packet }) => packet));
}

function openLab(base) {
  const note = find("lab-note");
  const [outage, loss] = [find("outage"), find("loss")];
  if (!base) {
    outage.disabled = loss.disabled = true;
    note.textContent = "Outages and losses are made by the demo's own network, which is not here.";
    return;
  }
  const ask = async (verb, done) => {
    const answer = await fetch(new URL(verb, new URL(base, document.baseURI)), { method: "POST" });
    note.textContent = answer.ok ? done : `The network did not take it (${answer.status}).`;
  };
  outage.addEventListener("click", () =>
    ask("outage", "Nothing gets through for 2 s, both ways. Speak on, listen on."));
  loss.addEventListener("click", () => {
    const on = loss.getAttribute("aria-pressed") !== "true";
    loss.setAttribute("aria-pressed", String(on));
    const where = talk.call?.session?.carrier === "websocket"
      ? "Of 100 UDP packets, 10 are lost; but this call goes over TCP."
      : "Of 100 packets, 10 are lost, each way.";
    void ask(on ? "loss/10" : "loss/0", on ? where : "No more losses.");
  });
}

async function begin() {
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") void talk.interrupt();
  });
  talk.addEventListener("turn", ({ detail }) => showTurn(detail));
  talk.addEventListener("call", ({ detail: call }) => {
    for (const type of ["mark", "state"]) call.addEventListener(type, () => showLadder(call));
    setInterval(() => {
      showFlow();
      if (call.session?.rttMs) showLadder(call);
    }, 100);
  });
  try {
    const {
      url, certificateHashes = [], token = "", namedProtocol = false, lab = null,
    } = await connection();
    talk.setAttribute("url", url);
    talk.setAttribute("hashes", certificateHashes.join(" "));
    talk.toggleAttribute("named-protocol", namedProtocol);
    if (token) talk.setAttribute("token", token);
    openLab(lab);
    talk.start();
  } catch (error) {
    find("lab-note").textContent = error.message;
  }
}

void begin();
