/** A conversation that only writes down what is asked of it: the tests set its state. */

import { DEFAULT_SETTINGS, type Assistant, type AssistantState, type Level } from "../../assistant/types";

export interface FakeAssistant extends Assistant {
  /** Methods that were called, with what they were given. */
  readonly calls: readonly string[];
  set(changes: Partial<AssistantState>): void;
  /** A stretch of sound, as the microphone or the answer would give it. */
  sound(level: Level): void;
}

export const QUIET: AssistantState = {
  connection: { state: "connected" },
  microphone: { state: "off" },
  activity: "idle",
  turns: [],
  settings: DEFAULT_SETTINGS,
  access: { asks: false, role: "admin", token: "", user: "" },
  voices: [
    { name: "en_US-lessac-medium", languages: ["en_US"] },
    { name: "de_DE-thorsten-medium", languages: ["de_DE"] },
  ],
  wakeWords: ["hey_meadowlark", "hey_jarvis"],
  handsFree: false,
  notices: [],
};

export function fakeAssistant(changes: Partial<AssistantState> = {}): FakeAssistant {
  let state: AssistantState = { ...QUIET, ...changes };
  const calls: string[] = [];
  const watchers = new Set<() => void>();
  const listeners = new Set<(level: Level) => void>();
  const set = (more: Partial<AssistantState>) => {
    state = { ...state, ...more };
    watchers.forEach((changed) => {
      changed();
    });
  };
  const note =
    (name: string) =>
    (...given: unknown[]) => {
      calls.push([name, ...given.map((value) => JSON.stringify(value))].join(" "));
    };
  const noteChange = note("change");
  return {
    calls,
    set,
    sound: (level) => {
      listeners.forEach((heard) => {
        heard(level);
      });
    },
    get state() {
      return state;
    },
    subscribe: (changed) => {
      watchers.add(changed);
      return () => watchers.delete(changed);
    },
    watchLevel: (heard) => {
      listeners.add(heard);
      return () => listeners.delete(heard);
    },
    start: note("start"),
    stop: note("stop"),
    press: note("press"),
    release: note("release"),
    setHandsFree: note("setHandsFree"),
    say: note("say"),
    interrupt: note("interrupt"),
    dismiss: note("dismiss"),
    change: (settings) => {
      noteChange(settings);
      set({ settings: { ...state.settings, ...settings } });
    },
    signIn: note("signIn"),
    signOut: note("signOut"),
    retry: note("retry"),
    clearHistory: note("clearHistory"),
    newConversation: note("newConversation"),
  };
}
