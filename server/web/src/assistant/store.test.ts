import { beforeEach, describe, expect, it, vi } from "vitest";

import {
  browserName,
  forgetHistory,
  loadHistory,
  loadSettings,
  saveHistory,
  saveSettings,
  watchKept,
  withValid,
} from "./store";
import { withTurn } from "./turns";
import { DEFAULT_SETTINGS, type Turn } from "./types";

beforeEach(() => {
  localStorage.clear();
});

function turns(count: number, answer = "An answer."): Turn[] {
  const made = Array.from({ length: count }, (_, index) => withTurn([], String(index), index, "Question?"));
  return made.flat().map((turn) => ({ ...turn, answer, outcome: "completed" }));
}

describe("settings", () => {
  it("come back", () => {
    const settings = { ...DEFAULT_SETTINGS, mode: "wake" as const, wakeWords: ["alexa"], volume: 0.5 };
    saveSettings(settings);
    expect(loadSettings()).toEqual(settings);
  });

  it("are the usual ones where nothing was kept, or another version's", () => {
    expect(loadSettings()).toEqual(DEFAULT_SETTINGS);
    localStorage.setItem("meadowlark.settings", '{"version": 0, "volume": 0.5}');
    expect(loadSettings()).toEqual(DEFAULT_SETTINGS);
    localStorage.setItem("meadowlark.settings", "{");
    expect(loadSettings()).toEqual(DEFAULT_SETTINGS);
  });

  it("take nothing that they cannot be", () => {
    const wrong = {
      mode: "shout",
      wakeWords: "alexa",
      voice: 7,
      volume: 2,
      keepHistory: "no",
      theme: "pink",
      other: 1,
    };
    expect(withValid(DEFAULT_SETTINGS, wrong)).toEqual(DEFAULT_SETTINGS);
    expect(withValid(DEFAULT_SETTINGS, { volume: 0, theme: "dark" })).toEqual({
      ...DEFAULT_SETTINGS,
      ...{ volume: 0, theme: "dark" },
    });
  });
});

describe("the history", () => {
  it("comes back with its conversation, but for what still runs", () => {
    const [first, second] = turns(2);
    const running = withTurn([], "c", 3, "Running?");
    if (first && second) {
      saveHistory({ conversationId: "c1", turns: [first, second, ...running] });
      expect(loadHistory()).toEqual({ conversationId: "c1", turns: [first, second] });
    }
    forgetHistory();
    expect(loadHistory()).toEqual({ conversationId: "", turns: [] });
  });

  it("has a bound in characters: the oldest go", () => {
    saveHistory({ conversationId: "c1", turns: turns(100, "x".repeat(20_000)) });
    const kept = loadHistory().turns;
    expect(kept.length).toBeGreaterThan(10);
    expect(kept.length).toBeLessThan(25);
    expect(kept.at(-1)?.id).toBe("99");
  });

  it("takes the room that the browser has", () => {
    const set = vi.spyOn(Storage.prototype, "setItem");
    set.mockImplementationOnce(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    saveHistory({ conversationId: "c1", turns: turns(10) });
    expect(loadHistory().turns.map(({ id }) => id)).toEqual(["5", "6", "7", "8", "9"]);
  });

  it("leaves out what is no turn", () => {
    localStorage.setItem("meadowlark.history", '{"version": 1, "turns": [7, {"id": "a"}, null]}');
    expect(loadHistory()).toEqual({ conversationId: "", turns: [] });
  });
});

it("keeps the browser's name, and makes another where it is none", () => {
  const name = browserName();
  expect(name).toMatch(/^browser-[0-9a-f]{8}$/);
  expect(browserName()).toBe(name);
  localStorage.setItem("meadowlark.name", '{"version": 1, "name": "kitchen"}');
  expect(browserName()).toMatch(/^browser-/);
});

it("hears of another tab that has cleared the history, or keeps other settings", () => {
  const heard: unknown[] = [];
  const end = watchKept(
    () => heard.push("forgotten"),
    ({ keepHistory }) => heard.push(keepHistory),
  );
  const tell = (key: string | null, newValue: string | null) => {
    window.dispatchEvent(new StorageEvent("storage", { key, newValue }));
  };
  tell("meadowlark.history", null);
  tell(null, null);
  tell("meadowlark.history", '{"version": 1, "turns": []}'); // a tab that has said nothing itself
  tell("another", null);
  saveSettings({ ...DEFAULT_SETTINGS, keepHistory: false });
  tell("meadowlark.settings", localStorage.getItem("meadowlark.settings"));
  expect(heard).toEqual(["forgotten", "forgotten", false]);
  end();
  tell(null, null);
  expect(heard).toHaveLength(3);
});

it("does without a storage", () => {
  vi.stubGlobal("localStorage", undefined);
  saveSettings(DEFAULT_SETTINGS);
  saveHistory({ conversationId: "c1", turns: turns(3) });
  forgetHistory();
  expect(loadSettings()).toEqual(DEFAULT_SETTINGS);
  expect(loadHistory().turns).toEqual([]);
  vi.unstubAllGlobals();
});
