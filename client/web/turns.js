/**
 * A call as turns: what was said, what was answered, and when each thing happened. Listens to
 * a `VoiceCall`; tells `changed(turn)` whenever a turn is new or different.
 */

const MAX_TURNS = 50;

/** What an agent tells it understood: a message of this name, `{ utterance, text }`. */
const TRANSCRIPT = "transcript";

/** The turns of a call, the latest `MAX_TURNS` of them. */
export class Turns {
  all = [];
  #changed;
  #sent = new Map();

  constructor(call, changed) {
    this.#changed = changed;
    call.addEventListener("utterance", ({ detail }) => this.#utterance(detail));
    call.addEventListener("response", ({ detail }) => this.#response(detail));
    call.addEventListener("progress", ({ detail }) => this.#tell(this.#answered(detail)));
    call.addEventListener("caption", ({ detail }) => this.#caption(detail));
    call.addEventListener("message", ({ detail }) => this.#message(detail));
  }

  get last() {
    return this.all.at(-1) ?? null;
  }

  /** Note that the user wrote instead of speaking. */
  typed(text) {
    this.#add({ text, speech: null });
  }

  #add({ text = "", speech }) {
    const turn = {
      id: this.all.length ? this.all.at(-1).id + 1 : 0,
      speech,
      text,
      responses: [],
      beganMs: performance.now(),
      transcriptMs: null,
    };
    this.all.push(turn);
    if (this.all.length > MAX_TURNS) this.all.shift();
    if (speech) this.#sent.set(speech.number, turn);
    this.#changed(turn);
    return turn;
  }

  #utterance(speech) {
    const turn = this.#sent.get(speech.number);
    if (turn) this.#changed(turn);
    else this.#add({ speech });
  }

  #response(response) {
    const turn = this.last ?? this.#add({ speech: null });
    turn.responses.push(response);
    this.#changed(turn);
  }

  #answered(response) {
    return this.all.find((turn) => turn.responses.includes(response));
  }

  #caption({ speech }) {
    this.#tell(this.all.findLast((turn) => turn.responses.some(({ number }) => number === speech)));
  }

  #message({ name, data }) {
    if (name !== TRANSCRIPT || typeof data?.text !== "string") return;
    const turn = this.#sent.get(data.utterance);
    if (!turn) return;
    turn.text = data.text;
    turn.transcriptMs = performance.now();
    this.#changed(turn);
  }

  #tell(turn) {
    if (turn) this.#changed(turn);
  }
}

/** What the badge of an utterance says: `{ text, kind }`, kind "wait", "good" or "bad". */
export function badgeOf(speech) {
  if (!speech) return null;
  if (speech.cancelled) return { text: "taken back", kind: "wait" };
  if (speech.intact === true) {
    return { text: `intact · +${Math.round(speech.receipt.added_delay_ms)} ms`, kind: "good" };
  }
  if (speech.intact === false) return { text: "not intact", kind: "bad" };
  const seconds = (speech.durationUs / 1e6).toFixed(1);
  return { text: speech.finished ? `${seconds} s · awaiting receipt` : `${seconds} s`, kind: "wait" };
}

/**
 * What happened in a turn, and how long it took: `{ name, ms, bar }`, in the order things come;
 * those that have not happened are left out. After the first two rows times count from the
 * last word; `bar` tells whether they are to be compared by length.
 */
export function momentsOf(turn) {
  const { speech } = turn;
  const response = turn.responses[0];
  const saidMs = speech ? speech.finishedMs : turn.beganMs;
  const soundedMs = response?.soundedMs ?? null;
  const over = response?.heard && response.heard.state !== "playing";
  const heardMs = soundedMs !== null && over ? soundedMs + response.heard.heardUs / 1000 : null;
  const since = (from, at) => (from === null || at === null || at === undefined ? null : at - from);
  const rows = [
    ["first word acknowledged", speech && since(speech.beganMs, speech.firstAckMs), true],
    ["last word said", speech && since(speech.beganMs, speech.finishedMs), false],
    ["then: receipt", speech && since(saidMs, speech.receiptMs), true],
    ["transcript", since(saidMs, turn.transcriptMs), true],
    ["answer begins to arrive", since(saidMs, response?.beganMs), true],
    ["first sound", since(saidMs, soundedMs), true],
    [response?.heard?.state === "interrupted" ? "cut short" : "heard to its end",
      since(saidMs, heardMs), false],
  ];
  return rows
    .filter(([, ms]) => ms !== null && ms !== undefined)
    .map(([name, ms, bar]) => ({ name, ms: Math.round(ms), bar }));
}
