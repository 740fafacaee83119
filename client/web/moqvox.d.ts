/** Types of moqvox.js. Times are in the unit of their name; docs/browser.md has the rest. */

export interface ConnectOptions {
  /** SHA-256 of a self-signed certificate: 64 hex digits, or bytes. */
  certificateHashes?: (string | Uint8Array)[];
  /** Goes to the server as `?jwt=`. */
  token?: string;
  /** Names to offer, the preferred first; `ALPNS` by default. */
  versions?: readonly string[];
  carriers?: readonly ("webtransport" | "websocket")[];
  /** The server is a moqvox: Firefox may use WebTransport. */
  namedProtocol?: boolean;
  /** Whether speaking silences an answer; true by default. */
  bargeIn?: boolean;
  /** Bits per second of Opus. */
  bitrate?: number;
  timeoutMs?: number;
  /** Playout, as in playout.js. */
  policy?: Record<string, unknown>;
  /** Tell what is put out, block by block; for checks. */
  capture?: boolean;
}

export interface Receipt {
  frames: number;
  ms: number;
  digest: string;
  added_delay_ms: number;
  worst_delay_ms: number;
  resumptions: number;
  path_changes?: number;
  complete: boolean;
  /** Frames that never came, each `[first, last]`. */
  missing?: [number, number][];
}

/** One utterance. */
export interface Speech {
  readonly number: number;
  readonly frames: number;
  readonly ackedFrames: number;
  readonly durationUs: number;
  readonly finished: boolean;
  readonly cancelled: boolean;
  /** Whether every byte arrived; null until that is known. */
  readonly intact: boolean | null;
  readonly receipt: Receipt | null;
  /** Opus packets so far. */
  readonly packets: Uint8Array[];
  /** Rejects when the utterance was taken back. */
  readonly receipted: Promise<Receipt>;
  write(opusPacket: Uint8Array): void;
  finish(): void;
  cancel(): boolean;
}

export interface Heard {
  heardUs: number;
  state: "playing" | "ended" | "interrupted";
  silenceUs: number;
  underruns: number;
  leadUs: number;
}

/** One answer: its packets as they arrive. */
export interface Response extends AsyncIterable<{ timestampUs: number; durationUs: number; packet: Uint8Array }> {
  readonly number: number;
  readonly durationUs: number;
  readonly ended: boolean;
  readonly cancelled: boolean;
  readonly captions: { text: string; start_us?: number }[];
  readonly heard: Heard | null;
  /** Frames that never came, as `[first, last]`. */
  readonly missing: [number, number][];
  /** Its agent's process died before all was said: it ends, but is not whole. */
  readonly isShort: boolean;
}

export type CallState = "connecting" | "open" | "reconnecting" | "failed" | "closed";

/** Each is a `CustomEvent`; this is its `detail`. */
export interface CallEvents {
  state: { state: CallState; error: Error | null };
  utterance: Speech;
  response: Response;
  progress: Response;
  caption: { speech: number; text: string; start_us?: number };
  message: { name: string; data: unknown };
  mark: { name: string; ms: number };
}

export interface Cut {
  item: number;
  totals: { heardUs: number };
}

export class VoiceCall extends EventTarget {
  readonly id: string;
  readonly state: CallState;
  readonly marks: Record<string, number>;
  readonly reconnects: number;
  readonly microphone: Microphone | null;
  readonly playback: Playback | null;
  addEventListener<K extends keyof CallEvents>(
    type: K, listener: (event: CustomEvent<CallEvents[K]>) => void,
    options?: boolean | AddEventListenerOptions): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions): void;
  openSpeaker(): Promise<Playback>;
  openMicrophone(processing?: MediaTrackConstraints): Promise<Microphone>;
  speak(options?: { source?: "microphone" | "packets" }): Speech;
  interrupt(response?: Response | null): Promise<Cut[]>;
  answers(): AsyncIterator<Response> & AsyncIterable<Response>;
  message(name: string, data?: unknown): void;
  retry(): void;
  hangUp(options?: { lastWordsMs?: number }): Promise<void>;
}

export interface Microphone {
  /** Root mean square of the last 20 ms. */
  readonly level: number;
  /** Of the frames, in Hz. */
  readonly sampleRate: number;
  addListener(take: (frame: Float32Array, level: number) => void): void;
  removeListener(take: (frame: Float32Array, level: number) => void): void;
  close(): void;
}

export interface Playback extends EventTarget {
  readonly isPlaying: boolean;
  positionUs(response: Response): number;
}

export function connect(url: string | readonly string[], options?: ConnectOptions): VoiceCall;

/** What this browser lacks for a call; empty if nothing. */
export function missing(): string[];

/** An Ogg Opus file of packets. */
export function oggOpus(
  packets: Uint8Array[], options?: { channels?: number; preSkip?: number; serial?: number },
): Uint8Array;

export class VoiceGate {
  constructor(options?: { hangoverMs?: number });
  readonly speaking: boolean;
  take(level: number): "begin" | "end" | null;
}

export const ALPNS: readonly string[];

export class LocalError extends Error {}
export class MediaError extends Error {}
export class Refused extends Error { readonly code: number; }
export class StreamEnded extends Error { readonly code: number; }
export class Unavailable extends Error { readonly what: string; }
