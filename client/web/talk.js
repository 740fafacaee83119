/**
 * `<moqvox-talk url="https://host:4443/">`: a button to talk to an agent, in one line of HTML.
 *
 * Attributes: `url`; `hashes`, SHA-256 fingerprints of the server's certificate in hex, split
 * by spaces, where it is self-signed; `token`; `named-protocol` where the server is a moqvox, which
 * lets Firefox use WebTransport. The event `call` tells of the call that was
 * made (`detail` is the VoiceCall), `turn` of every change of a turn.
 *
 * Hold the button (or Space, or Enter) and speak; a short tap latches it instead, which is
 * also what a screen reader's press does. Escape interrupts.
 */

import { Captions } from "./captions.js";
import { Unavailable, VoiceGate, connect, missing } from "./moqvox.js";
import { MARKUP, STYLE } from "./talk.css.js";
import { Turns } from "./turns.js";

/** A press shorter than this latches the button. */
const TAP_MS = 300;

/** Unacknowledged frames of 20 ms from which the user is told. */
const BEHIND_FRAMES = 50;

const WORKING =
  "Current Chrome, Edge and Firefox work; Safari from 26 has what it takes as well.";

/** The element itself; its attributes and events are told at the top of this file. */
export class TalkElement extends HTMLElement {
  call = null;
  turns = null;
  /** For `connect`, besides what the attributes say; set it before `start`. */
  options = {};
  #parts;
  #captions = null;
  #speech = null;
  #pressedMs = null;
  #latched = false;
  #gate = null;
  #noMicrophone = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>${STYLE}</style>${MARKUP}`;
    const find = (selector) => root.querySelector(selector);
    this.#parts = {
      talk: find(".talk"), label: find(".label"), status: find(".status"),
      handsfree: find(".handsfree"), interrupt: find(".interrupt"),
      form: find("form"), text: find(".text"), log: find(".log"),
    };
    this.#listen();
  }

  connectedCallback() {
    const lacking = missing();
    if (lacking.length) {
      this.#give(`This browser has no ${lacking.join(", no ")}. ${WORKING}`, "bad");
      this.#parts.talk.disabled = true;
      this.#parts.handsfree.disabled = true;
      this.#parts.label.textContent = "Not in this browser";
      this.dispatchEvent(new CustomEvent("unsupported", { detail: lacking }));
      return;
    }
    if (this.getAttribute("url")) this.start();
  }

  disconnectedCallback() {
    void this.call?.hangUp();
    this.call = null;
  }

  /** Call the agent at `url`. Speaking may begin at once. */
  start() {
    if (this.call || missing().length) return;
    const hashes = (this.getAttribute("hashes") ?? "").split(/[\s,]+/).filter(Boolean);
    this.call = connect(new URL(this.getAttribute("url"), document.baseURI).href, {
      certificateHashes: hashes,
      token: this.getAttribute("token") ?? "",
      namedProtocol: this.hasAttribute("named-protocol"),
      ...this.options,
    });
    this.#captions = new Captions(this.#parts.log, (response) =>
      this.call?.playback?.positionUs(response) ?? 0);
    this.turns = new Turns(this.call, (turn) => this.#turn(turn));
    for (const type of ["state", "utterance", "progress"]) {
      this.call.addEventListener(type, (event) => this.#refresh(event));
    }
    this.dispatchEvent(new CustomEvent("call", { detail: this.call }));
    this.#refresh();
  }

  /** Begin an utterance; asks for the microphone the first time. */
  async press() {
    if (!this.call || this.#speech || this.#noMicrophone) return;
    if (!this.call.microphone) {
      this.#give("Asking for the microphone …");
      if (!(await this.#openMicrophone())) return;
      if (this.#pressedMs === null && !this.#latched && !this.#gate) {
        this.#give("The microphone is ready. Hold the button and speak.");
        return;
      }
    }
    this.#speech = this.call.speak();
    this.#refresh();
  }

  /** End the utterance. */
  release() {
    this.#latched = false;
    this.#pressedMs = null;
    this.#speech?.finish();
    this.#speech = null;
    this.#refresh();
  }

  /** Cut the answer short. */
  async interrupt() {
    const cut = (await this.call?.interrupt()) ?? [];
    if (cut.length) {
      const heardMs = cut.reduce((sum, { totals }) => sum + totals.heardUs / 1000, 0);
      this.#give(`Interrupted after ${(heardMs / 1000).toFixed(2)} s.`);
    }
    return cut;
  }

  #listen() {
    const { talk, interrupt, handsfree, form } = this.#parts;
    talk.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      talk.setPointerCapture?.(event.pointerId);
      this.#down();
    });
    for (const type of ["pointerup", "pointercancel"]) {
      talk.addEventListener(type, () => this.#up());
    }
    talk.addEventListener("contextmenu", (event) => event.preventDefault());
    talk.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (!event.repeat) this.#down();
    });
    talk.addEventListener("keyup", (event) => {
      if (event.key === " " || event.key === "Enter") this.#up();
    });
    talk.addEventListener("click", (event) => {
      // A press without pointer and key comes from assistive technology: it toggles.
      if (event.detail !== 0 || this.#pressedMs !== null) return;
      if (this.#latched || this.#speech) this.release();
      else this.#latch();
    });
    this.shadowRoot.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      void this.interrupt();
    });
    interrupt.addEventListener("click", () => void this.interrupt());
    handsfree.addEventListener("change", () => void this.#handsFree(handsfree.checked));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write();
    });
  }

  #down() {
    if (this.#latched) {
      this.release();
      return;
    }
    this.#pressedMs = performance.now();
    void this.press();
  }

  #up() {
    if (this.#pressedMs === null) return;
    const heldMs = performance.now() - this.#pressedMs;
    this.#pressedMs = null;
    if (heldMs < TAP_MS && this.#speech) this.#latched = true;
    else if (this.#speech) this.release();
    this.#refresh();
  }

  #latch() {
    this.#latched = true;
    void this.press();
  }

  async #openMicrophone() {
    try {
      const microphone = await this.call.openMicrophone();
      microphone.addListener((frame, level) => this.#hear(level));
      return true;
    } catch (error) {
      this.#latched = false;
      if (!(error instanceof Unavailable)) throw error;
      this.#noMicrophone = true;
      await this.call.openSpeaker();
      this.#parts.form.hidden = false;
      this.#parts.handsfree.checked = false;
      this.#refresh();
      this.#parts.text.focus();
      this.dispatchEvent(new CustomEvent("microphone-refused", { detail: error }));
      return false;
    }
  }

  async #handsFree(on) {
    this.release();
    this.#gate = on ? new VoiceGate() : null;
    if (on && !this.call?.microphone && !(await this.#openMicrophone())) this.#gate = null;
    this.#refresh();
  }

  #hear(level) {
    this.#parts.talk.style.setProperty("--level", this.#speech ? Math.min(1, level * 6) : 0);
    const news = this.#gate?.take(level);
    if (news === "begin" && !this.#speech) void this.press();
    else if (news === "end" && this.#speech) this.release();
  }

  #write() {
    const text = this.#parts.text.value.trim();
    if (!text || !this.call) return;
    this.call.message("text", { text });
    this.turns.typed(text);
    this.#parts.text.value = "";
  }

  #turn(turn) {
    this.#captions.draw(turn);
    this.dispatchEvent(new CustomEvent("turn", { detail: turn }));
  }

  #refresh(event = null) {
    const { talk, label, interrupt, handsfree } = this.#parts;
    const talking = Boolean(this.#speech);
    talk.setAttribute("aria-pressed", String(talking));
    talk.disabled = this.#noMicrophone || !this.call;
    label.textContent = this.#label(talking);
    handsfree.disabled = this.#noMicrophone;
    interrupt.disabled = !this.call?.playback?.isPlaying;
    if (!talking) talk.style.setProperty("--level", 0);
    const [text, kind] = this.#words(event?.detail?.error ?? null);
    this.#give(text, kind);
  }

  #label(talking) {
    if (this.#noMicrophone) return "No microphone";
    if (this.#gate) return talking ? "Listening" : "Just speak";
    if (this.#latched) return "Tap to end";
    return talking ? "Listening" : "Hold to talk";
  }

  #words(error) {
    const { call } = this;
    if (!call) return ["Not connected."];
    if (this.#noMicrophone && call.state === "open") {
      return ["Without a microphone, write instead; the answer is spoken."];
    }
    if (call.state === "failed") return this.#failure(error);
    if (call.state === "connecting") return ["Connecting … you may speak already."];
    if (call.state === "reconnecting") {
      return ["The connection was lost. Go on speaking: nothing is lost, it is sent later."];
    }
    if (call.state === "closed") return ["The call is over."];
    if (this.#speech) return [this.#progressOf(this.#speech)];
    if (call.playback?.isPlaying) return ["Answering. Speak, or press Escape, to interrupt."];
    if (error) return [error.message, "bad"];
    return [`Ready.${this.#detour()}`];
  }

  /** Why the call does not go the usual way, if so. */
  #detour() {
    if (this.call.session?.carrier !== "websocket") return "";
    const has = globalThis.WebTransport
      && ("protocol" in WebTransport.prototype || this.hasAttribute("named-protocol"));
    return has
      ? " UDP gets no answer on this network, so the call goes over TCP; it may stutter more."
      : " This browser has no WebTransport that fits, so the call goes over a WebSocket.";
  }

  #progressOf(speech) {
    const behindFrames = speech.frames - speech.ackedFrames;
    return behindFrames > BEHIND_FRAMES
      ? "The network hangs behind. Go on speaking: nothing is lost."
      : "Listening.";
  }

  #failure(error) {
    if (error?.what === "network") {
      return ["Nothing answers, neither over UDP nor over TCP: the agent is down, or this network " +
        "blocks its port. Trying on; what you say meanwhile is kept.", "bad"];
    }
    return [error ? `${error.message}. ${WORKING}` : "The connection failed.", "bad"];
  }

  #give(text, kind = "plain") {
    const { status } = this.#parts;
    if (status.textContent !== text) status.textContent = text;
    status.dataset.kind = kind;
  }
}

customElements.define("moqvox-talk", TalkElement);
