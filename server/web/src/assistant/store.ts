/** What this browser keeps: settings, and the last turns with their conversation. Works without a storage too. */

import { isFields } from "./protocol";
import { DEFAULT_SETTINGS, MOST_TURNS, type Settings, type Turn } from "./types";

/** Raised when what was kept cannot be read any more. */
const VERSION = 1;

const SETTINGS_KEY = "meadowlark.settings";
const HISTORY_KEY = "meadowlark.history";
const NAME_KEY = "meadowlark.name";

/** Browsers give a page 5 MB, in characters of two bytes, and others may be at the same address. */
const MOST_CHARACTERS = 500_000;

const NAME = /^browser-[0-9a-f]{8}$/;

export interface History {
  conversationId: string;
  turns: readonly Turn[];
}

const NO_HISTORY: History = { conversationId: "", turns: [] };

export function loadSettings(): Settings {
  const kept = load(SETTINGS_KEY);
  return kept ? withValid(DEFAULT_SETTINGS, kept) : DEFAULT_SETTINGS;
}

export function saveSettings(settings: Settings): void {
  save(SETTINGS_KEY, JSON.stringify({ version: VERSION, ...settings }));
}

/** What this browser is called by the server: made once, and kept. */
export function browserName(): string {
  const kept = load(NAME_KEY)?.["name"];
  if (typeof kept === "string" && NAME.test(kept)) {
    return kept;
  }
  const digits = [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, "0"));
  const name = `browser-${digits.join("")}`;
  save(NAME_KEY, JSON.stringify({ version: VERSION, name }));
  return name;
}

export function loadHistory(): History {
  const kept = load(HISTORY_KEY);
  if (!kept || !Array.isArray(kept["turns"])) {
    return NO_HISTORY;
  }
  const id = kept["conversationId"];
  return { conversationId: typeof id === "string" ? id : "", turns: kept["turns"].filter(isTurn).slice(-MOST_TURNS) };
}

/** Of the turns those that have ended: the newest, as many as there is room for. */
export function saveHistory({ conversationId, turns }: History): void {
  let kept = turns.filter((turn) => turn.outcome !== "running").slice(-MOST_TURNS);
  for (;;) {
    const text = JSON.stringify({ version: VERSION, conversationId, turns: kept });
    if ((text.length <= MOST_CHARACTERS && save(HISTORY_KEY, text)) || !kept.length) {
      return;
    }
    kept = kept.slice(Math.ceil(kept.length / 2));
  }
}

export function forgetHistory(): void {
  try {
    localStorage.removeItem(HISTORY_KEY);
  } catch {
    // A browser without a storage has kept nothing.
  }
}

/** Calls when another tab of the page forgets the history, or keeps other settings; returns what ends it. */
export function watchKept(forgotten: () => void, changed: (settings: Settings) => void): () => void {
  const look = ({ key, newValue }: StorageEvent) => {
    if ((key === HISTORY_KEY || key === null) && newValue === null) {
      forgotten();
    } else if (key === SETTINGS_KEY) {
      changed(loadSettings());
    }
  };
  window.addEventListener("storage", look);
  return () => {
    window.removeEventListener("storage", look);
  };
}

/** Those of `changes` that a setting can have; a setting of another version or another hand may be anything. */
export function withValid(settings: Settings, changes: Partial<Record<string, unknown>>): Settings {
  const valid = Object.entries(changes).filter(([key, value]) => {
    const check = CHECKS[key as keyof Settings] as ((value: unknown) => boolean) | undefined;
    return check?.(value) ?? false;
  });
  return { ...settings, ...Object.fromEntries(valid) };
}

const CHECKS: Record<keyof Settings, (value: unknown) => boolean> = {
  mode: oneOf("push", "open", "wake"),
  wakeWords: (value) => Array.isArray(value) && value.every((word) => typeof word === "string"),
  voice: isText,
  language: isText,
  theme: oneOf("system", "light", "dark"),
  keepHistory: isSwitch,
  continueConversation: isSwitch,
  echoCancellation: isSwitch,
  noiseSuppression: isSwitch,
  autoGainControl: isSwitch,
  volume: (value) => typeof value === "number" && value >= 0 && value <= 1,
};

function oneOf(...values: string[]): (value: unknown) => boolean {
  return (value) => typeof value === "string" && values.includes(value);
}

function isText(value: unknown): boolean {
  return typeof value === "string" && value.length < 200;
}

function isSwitch(value: unknown): boolean {
  return typeof value === "boolean";
}

function isTurn(value: unknown): value is Turn {
  return (
    isFields(value) &&
    typeof value["id"] === "string" &&
    typeof value["at"] === "number" &&
    typeof value["heard"] === "string" &&
    typeof value["answer"] === "string" &&
    Array.isArray(value["tools"])
  );
}

function load(key: string): Partial<Record<string, unknown>> | null {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(key) ?? "null");
    return isFields(kept) && kept["version"] === VERSION ? kept : null;
  } catch {
    return null;
  }
}

/** False where there is no room, or no storage. */
function save(key: string, text: string): boolean {
  try {
    localStorage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}
