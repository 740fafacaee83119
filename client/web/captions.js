/** Draws the conversation: what was said with its badge, answers with the word now sounding. */

import { badgeOf } from "./turns.js";

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Which word sounds at a position: the last that has begun; -1 before the first. */
export function wordAt(captions, positionUs) {
  let now = -1;
  captions.forEach(({ start_us: startUs = 0 }, at) => {
    if (startUs <= positionUs) now = at;
  });
  return now;
}

/** The conversation as it is seen and read aloud: a row a turn, drawn into one element. */
export class Captions {
  #log;
  #positionUs;
  #turns = new Map();
  #playing = new Set();
  #frame = null;

  /** `positionUs(response)` tells where a response is. */
  constructor(log, positionUs) {
    this.#log = log;
    this.#positionUs = positionUs;
  }

  /** Draw a turn that is new or changed. */
  draw(turn) {
    let drawn = this.#turns.get(turn.id);
    if (!drawn) {
      drawn = { row: element("div", "turn"), said: null, answers: new Map() };
      this.#turns.set(turn.id, drawn);
      this.#log.append(drawn.row);
      drawn.row.scrollIntoView?.({ block: "nearest" });
    }
    if (turn.speech || turn.text) this.#drawSaid(turn, drawn);
    for (const response of turn.responses) this.#drawAnswer(response, drawn);
  }

  #drawSaid({ speech, text }, drawn) {
    if (!drawn.said) {
      const box = element("div", "said");
      const badge = element("span", "badge");
      const words = element("span", "");
      box.append(element("span", "who", "You: "), words, badge);
      drawn.said = { words, badge };
      drawn.row.append(box);
    }
    const badge = badgeOf(speech);
    const seconds = speech && (speech.durationUs / 1e6).toFixed(1);
    drawn.said.words.textContent = text || (speech?.finished ? `${seconds} s of speech` : "listening …");
    drawn.said.badge.hidden = !badge;
    if (!badge) return;
    drawn.said.badge.textContent = badge.text;
    drawn.said.badge.dataset.kind = badge.kind;
  }

  #drawAnswer(response, drawn) {
    let answer = drawn.answers.get(response.item);
    if (!answer) {
      const box = element("div", "answer");
      const words = element("span", "");
      const cut = element("span", "cut");
      box.append(element("span", "who", "Agent: "), words, cut);
      answer = { words, cut, drawn: 0 };
      drawn.answers.set(response.item, answer);
      drawn.row.append(box);
    }
    if (!answer.drawn && response.captions.length) answer.words.replaceChildren();
    for (; answer.drawn < response.captions.length; answer.drawn++) {
      const word = element("span", "word ahead", response.captions[answer.drawn].text);
      answer.words.append(word, " ");
    }
    if (!response.captions.length) {
      const seconds = (response.durationUs / 1e6).toFixed(1);
      answer.words.textContent = `${seconds} s of speech`;
    }
    const state = response.heard?.state;
    if (state === "interrupted") {
      answer.cut.textContent = ` — interrupted at ${(response.heard.heardUs / 1e6).toFixed(2)}\u00a0s`;
    }
    this.#playing.add({ response, answer });
    this.#frame ??= requestAnimationFrame(() => this.#highlight());
  }

  #highlight() {
    this.#frame = null;
    for (const each of this.#playing) {
      const { response, answer } = each;
      const done = response.heard && response.heard.state !== "playing";
      const now = wordAt(response.captions, response.soundedMs ? this.#positionUs(response) : -1);
      [...answer.words.children].forEach((word, at) => {
        word.className = at > now ? "word ahead" : at === now && !done ? "word now" : "word";
      });
      if (done) this.#playing.delete(each);
    }
    if (this.#playing.size) this.#frame = requestAnimationFrame(() => this.#highlight());
  }
}
