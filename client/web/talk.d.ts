/** Types of talk.js, which defines `<moqvox-talk>`. */

import type { ConnectOptions, VoiceCall } from "./moqvox.js";

export class TalkElement extends HTMLElement {
  readonly call: VoiceCall | null;
  /** For `connect`, besides what the attributes say; set it before `url`. */
  options: ConnectOptions;
  start(): void;
  press(): Promise<void>;
  release(): void;
  interrupt(): Promise<{ item: number; totals: { heardUs: number } }[]>;
}

declare global {
  interface HTMLElementTagNameMap {
    "moqvox-talk": TalkElement;
  }
}
