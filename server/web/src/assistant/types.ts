/**
 * What the page knows of the conversation, and what it can do: the border between the logic (src/assistant, src/audio)
 * and what is shown (src/pages, src/components).
 */

/** Between the page and the server. */
export type Connection =
  | { state: "connecting" }
  | { state: "connected" }
  /** The server is there and loads its engines. */
  | { state: "loading" }
  /** It is gone; the page comes again at `retryAt` (ms of Date.now()). */
  | { state: "reconnecting"; attempt: number; retryAt: number }
  /** It asks for a token: none was shown, or one that is wrong, or one that was revoked meanwhile. */
  | { state: "signed-out"; why: "none" | "wrong" | "revoked" }
  /** It will not serve us: `text` says why and what to do. `retry()` tries again. */
  | { state: "refused"; text: string };

export type Microphone =
  | { state: "off" }
  /** The browser asks the person. */
  | { state: "asking" }
  | { state: "on"; label: string }
  /** No permission; `forGood` where the browser will not ask again. */
  | { state: "denied"; forGood: boolean }
  /** The page came over plain HTTP from another machine: browsers then have no microphone. */
  | { state: "insecure" }
  /** There is none, or it was pulled out. */
  | { state: "missing" }
  /** Another program holds it, or it failed. */
  | { state: "failed"; text: string };

/** How a turn from speech begins. */
export type Mode =
  /** While a key or the button is held (or between two clicks). */
  | "push"
  /** The microphone is open: whatever is said is a question. */
  | "open"
  /** The microphone is open, and a wake word begins a turn. */
  | "wake";

/** What is going on just now. */
export type Activity =
  | "idle"
  /** Waits for the wake word. */
  | "waiting"
  /** Listens; nobody speaks yet. */
  | "listening"
  /** Somebody speaks. */
  | "hearing"
  | "thinking"
  | "speaking";

export interface ToolUse {
  call: string;
  name: string;
  state: "started" | "finished" | "failed";
}

/** Marks of a turn in milliseconds since its start; see handlers/timeline.py. */
export interface Timeline {
  turn_id: string;
  route: string;
  outcome: string;
  decision: { kind: string; confidence: number | null; reason: string };
  guesses: { kept: number; discarded: number; dropped: number; saved_ms: number };
  marks_ms: Partial<Record<Mark, number>>;
}

export type Mark =
  | "wake"
  | "speech_start"
  | "speech_end"
  | "endpoint"
  | "transcript"
  | "route"
  | "first_token"
  | "first_sentence"
  | "first_audio"
  | "done";

/** One question and its answer. */
export interface Turn {
  /** Unique on this page, also after a reload. */
  id: string;
  /** When it began: ms of Date.now(). */
  at: number;
  typed: boolean;
  /** The question so far; complete when `heardAll`. Empty before anything was recognised. */
  heard: string;
  heardAll: boolean;
  /** The answer so far, as it is written. */
  answer: string;
  answeredAll: boolean;
  tools: readonly ToolUse[];
  outcome: "running" | "completed" | "cancelled" | "failed";
  /**
   * What went wrong, as a sentence for the person; null when nothing did. `code` is the server's (no-speech, …), or ours:
   * `connection-lost`, and `no-sound` where the answer could not be played here.
   */
  problem: { code: string; text: string } | null;
  timeline: Timeline | null;
  /** Measured here: from the end of speech (the server's mark) or from sending a text to the first sound, in ms. */
  firstSoundMs: number | null;
  /** The answer is a question. */
  asksBack: boolean;
  /** It was interrupted while it sounded. */
  interrupted: boolean;
}

export interface Voice {
  name: string;
  languages: readonly string[];
}

/** What `GET /api/v1/session` says. */
export interface Access {
  /** Whether the server asks for a token at all. */
  asks: boolean;
  role: "guest" | "user" | "admin";
  /** Name of the token. */
  token: string;
  /** The person whose it is, by id; empty for a shared one. */
  user: string;
}

/** Kept in this browser. */
export interface Settings {
  mode: Mode;
  /** Words that begin a turn in the mode `wake`; empty: the server's first. */
  wakeWords: readonly string[];
  /** A name of `voices`; empty: the server's choice. */
  voice: string;
  /** A tag such as "de"; empty: the server's choice. */
  language: string;
  theme: "system" | "light" | "dark";
  /** Keep questions and answers in this browser after the page is closed. */
  keepHistory: boolean;
  /** When the answer is a question, listen again without a key or a wake word. */
  continueConversation: boolean;
  echoCancellation: boolean;
  noiseSuppression: boolean;
  autoGainControl: boolean;
  /** 0 to 1. */
  volume: number;
}

export const DEFAULT_SETTINGS: Settings = {
  mode: "push",
  wakeWords: [],
  voice: "",
  language: "",
  theme: "system",
  keepHistory: true,
  continueConversation: true,
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  volume: 1,
};

/** What the server calls this page with: a timer that rings, a reminder, an announcement. */
export interface CallNotice {
  /** The same for all rings of a timer. */
  id: string;
  text: string;
  /** It rings again and again until it is stopped. */
  rings: boolean;
  sounds: boolean;
}

/** Shown at a time; the oldest go. */
export const MOST_NOTICES = 8;

/** An immutable picture of everything; a new one for every change. */
export interface AssistantState {
  connection: Connection;
  microphone: Microphone;
  activity: Activity;
  /** The oldest first; at most MOST_TURNS. */
  turns: readonly Turn[];
  settings: Settings;
  access: Access | null;
  voices: readonly Voice[];
  wakeWords: readonly string[];
  /** The hands-free microphone is open (modes `open` and `wake`), or was asked to be. */
  handsFree: boolean;
  /** The oldest first; at most MOST_NOTICES. */
  notices: readonly CallNotice[];
}

export const MOST_TURNS = 200;

/** A short stretch of sound, for the level and the waveform. */
export interface Level {
  /** 0 to 1, of the microphone or the answer. */
  rms: number;
  /** The newest samples, -1 to 1; only for the time of the call. */
  samples: Float32Array;
  from: "microphone" | "answer";
}

/** The conversation. All methods return at once and never throw; what goes wrong is in the state. */
export interface Assistant {
  readonly state: AssistantState;
  /** Called after every change; returns what ends it. */
  subscribe(changed: () => void): () => void;
  /** Called some 30 times a second while there is sound; returns what ends it. */
  watchLevel(heard: (level: Level) => void): () => void;
  /** Connect, and stay connected. */
  start(): void;
  /** Let go of everything. */
  stop(): void;
  /** Push to talk: the key goes down, and up. Going down interrupts what sounds. */
  press(): void;
  release(): void;
  /** Open or close the microphone of the hands-free modes. */
  setHandsFree(on: boolean): void;
  /** Ask by text. */
  say(text: string): void;
  /** Be quiet, and end the turn. */
  interrupt(): void;
  /** A notice was seen: it is silent, and gone. */
  dismiss(id: string): void;
  change(settings: Partial<Settings>): void;
  signIn(token: string): void;
  signOut(): void;
  /** Connect again now. */
  retry(): void;
  /** Forget what this browser has kept, and begin a new conversation. */
  clearHistory(): void;
  newConversation(): void;
}
