import { beforeEach, describe, expect, it, vi } from "vitest";

import { FakeBrowser } from "../audio/testing/fake-browser";
import { createAssistant } from "./assistant";
import { FakeServer, type Json } from "./testing/fake-server";
import type { Activity, Assistant, Level, Settings, Turn } from "./types";

let server: FakeServer;
let browser: FakeBrowser;
let assistant: Assistant;

beforeEach(async () => {
  vi.useFakeTimers();
  localStorage.clear();
  window.location.hash = "";
  server = new FakeServer().install();
  browser = new FakeBrowser().install();
  await begin();
  return () => {
    assistant.stop();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

async function begin(settings: Partial<Settings> = {}) {
  assistant = createAssistant("http://localhost/");
  assistant.change(settings);
  assistant.start();
  await pass();
}

async function pass(seconds = 0) {
  await vi.advanceTimersByTimeAsync(0);
  await browser.run(seconds);
}

function activity(): Activity {
  return assistant.state.activity;
}

function newest(): Turn | undefined {
  return assistant.state.turns.at(-1);
}

async function hold(seconds = 1) {
  assistant.press();
  await pass(seconds);
}

async function tap() {
  assistant.press();
  await pass(0.1);
  assistant.release();
  await pass(0.1);
}

async function handsFree(mode: "open" | "wake") {
  assistant.change({ mode });
  assistant.setHandsFree(true);
  await pass(0.1);
}

function hear(turn: number, text: string) {
  server.turn(turn, { type: "voice_started" }, { type: "transcript_chunk", text }, { type: "voice_stopped" });
  server.turn(turn, { type: "transcript", text, language: "en" });
}

/** An answer with so many seconds of sound, which has come as a whole. */
function answer(turn: number, seconds: number, fields: Json = {}) {
  server.turn(turn, { type: "handled_start", conversation_id: "c1" }, { type: "handled_chunk", text: "It is ten." });
  if (seconds) {
    server.turn(turn, { type: "audio_start", rate: 16_000, width: 2, channels: 1 });
    server.say(new ArrayBuffer(seconds * 32_000));
  }
  server.turn(turn, { type: "handled", text: "It is ten.", conversation_id: "c1", ...fields }, { type: "audio_stop" });
  done(turn, "completed");
}

function done(turn: number, outcome: string) {
  const timeline = { marks_ms: { speech_end: 1000, transcript: 1400, done: 2000 } };
  server.turn(turn, { type: "done", outcome, timeline });
}

function fail(turn: number) {
  server.turn(turn, { type: "error", code: "engine", text: "x" });
  done(turn, "failed");
}

function silence(turn: number) {
  server.turn(turn, { type: "error", code: "no-speech", text: "No speech was heard" });
  done(turn, "failed");
}

function played(): Json[] {
  return server.of("played").map(({ turn, seconds }) => (seconds === undefined ? { turn } : { turn, seconds }));
}

describe("push to talk", () => {
  it("takes all that is said while the key is held", async () => {
    await hold(0.35);
    expect(server.of("listen")).toEqual([{ type: "listen", mode: "push_to_talk", wake_words: [] }]);
    expect(activity()).toBe("listening");
    browser.speak(10);
    server.turn(1, { type: "voice_started" });
    expect(activity()).toBe("hearing");
    expect(server.session.audio).toHaveLength(12_800);
    assistant.release();
    expect(activity()).toBe("thinking");
    server.turn(1, { type: "voice_started" }); // late
    expect(activity()).toBe("thinking");
    browser.speak(10);
    expect(server.types()).toEqual(["start", "listen", ...Array<string>(20).fill("audio"), "end_audio"]);
    hear(1, "What time is it?");
    answer(1, 1);
    expect(activity()).toBe("thinking");
    await pass(0.1);
    expect(activity()).toBe("speaking");
    await pass(1);
    expect(activity()).toBe("idle");
    expect(played()).toEqual([{ turn: 1 }]);
    expect(newest()).toMatchObject({
      heard: "What time is it?",
      answer: "It is ten.",
      outcome: "completed",
      typed: false,
    });
    expect(newest()?.firstSoundMs).toBeGreaterThanOrEqual(400);
    expect(newest()?.firstSoundMs).toBeLessThan(500);
  });

  it("loses no word that was begun before the key, once the microphone is open", async () => {
    await hold();
    assistant.release();
    silence(1);
    for (let content = 1; content <= 20; content += 1) {
      browser.speak(1, content);
    }
    assistant.press();
    browser.speak(1, 21);
    await pass(0.35);
    browser.speak(1, 22);
    const heard = server.session.audio.filter((_, at) => at % 1280 === 0);
    expect(heard).toEqual([13, 14, 15, 16, 17, 18, 19, 20, 21, 22]);
  });

  it.each([0.5, 1.2])("begins without the answer's own sound, %f s after its beginning", async (seconds) => {
    await hold();
    assistant.release();
    hear(1, "Hello");
    answer(1, 1);
    browser.speak(20, 9);
    await pass(seconds);
    await hold(0.5);
    browser.speak(1, 1);
    expect(new Set(server.session.audio)).toEqual(new Set([1]));
  });

  it("lets go of the microphone half a minute later", async () => {
    await hold();
    assistant.release();
    hear(1, "Hello");
    answer(1, 0);
    await pass(29);
    expect(assistant.state.microphone).toEqual({ state: "on", label: "Desk microphone" });
    await pass(2);
    expect(assistant.state.microphone).toEqual({ state: "off" });
    expect(browser.records).toBe(false);
  });

  it("is held for long, also over another connection", async () => {
    await hold();
    assistant.release();
    silence(1);
    await hold();
    server.cut();
    await pass(40);
    expect(browser.records).toBe(true);
    expect(activity()).toBe("listening");
  });

  it("is not carried out when the server comes back much later", async () => {
    await hold(0.5);
    assistant.release();
    silence(1);
    server.up = false;
    server.cut();
    await hold(0.5);
    browser.speak(20);
    assistant.release();
    await pass(60);
    server.up = true;
    await pass(12);
    expect(assistant.state.connection).toEqual({ state: "connected" });
    expect(server.of("listen")).toHaveLength(1);
    expect(newest()).toMatchObject({ outcome: "failed", problem: { code: "connection-lost" } });
    expect(activity()).toBe("idle");
  });

  it("leaves no microphone open where it was taken back while the browser asked", async () => {
    let allow = () => {};
    browser.asks = new Promise((resolve) => (allow = resolve));
    assistant.press();
    await pass(0.1);
    assistant.interrupt();
    assistant.release();
    allow();
    await pass(31);
    expect(browser.records).toBe(false);
  });

  it("is taken back before it is a turn", async () => {
    assistant.press();
    await pass(0.1);
    assistant.interrupt();
    expect(activity()).toBe("idle");
    assistant.release();
    await pass(31);
    expect(browser.records).toBe(false);
    expect(server.types()).toEqual(["start"]);
  });

  it("says so when nobody spoke", async () => {
    await hold();
    assistant.release();
    silence(1);
    expect(newest()?.problem).toMatchObject({
      code: "no-speech",
      text: expect.stringContaining("heard nothing") as string,
    });
    expect(activity()).toBe("idle");
  });

  it("interrupts the answer, and says how much of it was heard", async () => {
    assistant.say("Tell me a story");
    answer(1, 10);
    await pass(2.02);
    await hold(0.5);
    expect(played()).toEqual([{ turn: 1, seconds: expect.closeTo(2, 1) as number }]);
    expect(assistant.state.turns[0]).toMatchObject({ interrupted: true, outcome: "completed" });
    expect(activity()).toBe("listening");
    expect(server.types().slice(-2)).toEqual(["played", "listen"]);
  });

  it("does not sound an answer that comes while the key is down", async () => {
    assistant.say("Hello");
    assistant.press();
    answer(1, 1);
    await pass(0.2);
    expect(activity()).toBe("listening");
    expect(browser.contexts.flatMap(({ pieces }) => pieces)).toEqual([]);
    await pass(0.2);
    expect(server.types().slice(-1)).toEqual(["listen"]);
  });

  it("does nothing without a microphone", async () => {
    browser.error = new DOMException("", "NotAllowedError");
    await hold();
    assistant.release();
    expect(assistant.state.microphone).toEqual({ state: "denied", forGood: false });
    expect(activity()).toBe("idle");
    expect(server.types()).toEqual(["start"]);
  });

  it("is quiet, and then idle, where the microphone is refused over an answer", async () => {
    assistant.say("Tell me a story");
    answer(1, 10);
    await pass(1);
    browser.error = new DOMException("", "NotAllowedError");
    await hold();
    expect(activity()).toBe("idle");
  });

  it("ends the question where the microphone is pulled out", async () => {
    await hold();
    server.turn(1, { type: "voice_started" });
    browser.tracks[0]?.dispatchEvent(new Event("ended"));
    await pass();
    expect(assistant.state.microphone).toEqual({ state: "missing" });
    expect(server.types().slice(-1)).toEqual(["end_audio"]);
    expect(activity()).toBe("thinking");
  });
});

describe("a tap", () => {
  it("leaves the end of the question to the server", async () => {
    await tap();
    expect(server.of("listen")).toEqual([{ type: "listen", mode: "hands_free", wake_words: [] }]);
    browser.speak(2);
    hear(1, "Hello");
    expect(activity()).toBe("thinking");
    browser.speak(2);
    expect(server.types()).toEqual(["start", "listen", ...Array<string>(4).fill("audio")]);
  });

  it("ends a question that was tapped", async () => {
    await tap();
    server.turn(1, { type: "voice_started" });
    await tap();
    expect(server.types().slice(-1)).toEqual(["end_audio"]);
    expect(activity()).toBe("thinking");
  });

  it("takes it back where nothing was said", async () => {
    await tap();
    await tap();
    expect(server.types().slice(-1)).toEqual(["cancel"]);
    done(1, "cancelled");
    expect(assistant.state.turns).toEqual([]);
    expect(activity()).toBe("idle");
  });

  it("is also a key let go of before the browser gave the microphone", async () => {
    let allow = () => {};
    browser.asks = new Promise((resolve) => (allow = resolve));
    await hold(2);
    assistant.release();
    expect(assistant.state.microphone).toEqual({ state: "asking" });
    allow();
    await pass();
    expect(server.of("listen")).toMatchObject([{ mode: "hands_free" }]);
  });
});

describe("text", () => {
  it("is asked and answered aloud", async () => {
    assistant.say("  What time is it? ");
    assistant.say("   ");
    expect(server.of("text")).toEqual([{ type: "text", text: "What time is it?" }]);
    expect(newest()).toMatchObject({ typed: true, heard: "What time is it?", heardAll: true });
    await pass(0.5);
    answer(1, 1);
    await pass(0.1);
    expect(newest()?.firstSoundMs).toBeGreaterThanOrEqual(500);
    expect(newest()?.firstSoundMs).toBeLessThan(600);
    await pass(1);
    expect(played()).toEqual([{ turn: 1 }]);
    expect(browser.records).toBe(false);
  });

  it("is a turn also where the browser stays silent", async () => {
    assistant.stop();
    await begin();
    vi.stubGlobal("AudioContext", undefined);
    assistant.say("Hello");
    answer(1, 1);
    expect(activity()).toBe("idle");
    expect(newest()).toMatchObject({ outcome: "completed", answer: "It is ten.", firstSoundMs: null });
    expect(newest()?.problem).toMatchObject({ code: "no-sound", text: expect.stringContaining("Click") as string });
    expect(played()).toEqual([{ turn: 1 }]); // it was read
  });

  it("says how much was heard where the browser falls silent", async () => {
    assistant.say("Hello");
    answer(1, 5);
    await pass(1.02);
    const context = browser.contexts.at(-1);
    if (context) {
      context.mayResume = false;
      void context.suspend();
    }
    await pass(1.5);
    expect(newest()?.problem?.code).toBe("no-sound");
    expect(played()).toEqual([{ turn: 1, seconds: expect.closeTo(1, 1) as number }]);
    expect(activity()).toBe("idle");
  });

  it("is answered aloud also where the browser still asks for the microphone", async () => {
    let allow = () => {};
    browser.asks = new Promise((resolve) => (allow = resolve));
    await tap();
    assistant.say("Hello");
    answer(1, 1);
    await pass(0.5);
    expect(activity()).toBe("speaking");
    allow();
    await pass(1);
    expect(played()).toEqual([{ turn: 1 }]);
    expect(server.of("listen")).toEqual([]);
    await pass(31);
    expect(browser.records).toBe(false);
  });

  it("takes the place of the answer before", async () => {
    assistant.say("one");
    answer(1, 10);
    await pass(1.02);
    assistant.say("two");
    expect(server.types().slice(1)).toEqual(["text", "played", "text"]);
    answer(2, 1);
    await pass(1.2);
    expect(played()[1]).toEqual({ turn: 2 });
    expect(assistant.state.turns.map(({ interrupted }) => interrupted)).toEqual([true, false]);
  });

  it("may set the volume", () => {
    assistant.say("louder");
    answer(1, 0, { volume: { to: 40 } });
    expect(assistant.state.settings.volume).toBe(0.4);
    assistant.say("quieter");
    answer(2, 0, { volume: { change: -50 } });
    expect(assistant.state.settings.volume).toBe(0);
  });
});

describe("stop", () => {
  it("ends a turn that is being made", () => {
    assistant.say("Hello");
    server.turn(1, { type: "handled_chunk", text: "It" });
    assistant.interrupt();
    expect(server.types().slice(-1)).toEqual(["cancel"]);
    expect(activity()).toBe("idle");
    done(1, "cancelled");
    expect(newest()).toMatchObject({ outcome: "cancelled", answer: "It" });
  });

  it("is quiet, also where all has come", async () => {
    assistant.say("Hello");
    answer(1, 10);
    await pass(1.02);
    assistant.interrupt();
    expect(server.types().slice(-2)).toEqual(["played", "cancel"]);
    expect(played()).toEqual([{ turn: 1, seconds: expect.closeTo(1, 1) as number }]);
    expect(activity()).toBe("idle");
    assistant.interrupt();
    expect(server.of("cancel")).toHaveLength(1);
  });
});

describe("a question back", () => {
  it("is listened to without a word", async () => {
    await tap();
    hear(1, "Set a timer");
    answer(1, 1, { listen: true });
    expect(server.of("listen")).toHaveLength(1);
    await pass(1.2);
    expect(server.of("listen")[1]).toEqual({ type: "listen", mode: "hands_free", wake_words: [] });
    expect(activity()).toBe("listening");
    silence(2);
    expect(activity()).toBe("idle");
    expect(assistant.state.turns).toHaveLength(1);
  });

  it.each<[string, Partial<Settings>, (() => void) | null]>([
    ["the settings say no", { continueConversation: false }, null],
    [
      "it was stopped",
      {},
      () => {
        assistant.interrupt();
      },
    ],
  ])("is not where %s", async (_, settings, interfere) => {
    assistant.change(settings);
    await tap();
    hear(1, "Set a timer");
    answer(1, 1, { listen: true });
    await pass(0.5);
    interfere?.();
    await pass(1);
    expect(server.of("listen")).toHaveLength(1);
  });

  it("is not where the microphone was switched off during it", async () => {
    await handsFree("open");
    hear(1, "Set a timer");
    answer(1, 1, { listen: true });
    await pass(0.5);
    assistant.setHandsFree(false);
    await pass(1);
    expect(assistant.state).toMatchObject({ handsFree: false, activity: "idle", microphone: { state: "off" } });
    expect(browser.records).toBe(false);
    expect(server.of("listen")).toHaveLength(1);
  });

  it("is not where the turn failed after all", async () => {
    await tap();
    hear(1, "Set a timer");
    server.turn(1, { type: "handled", text: "How long?", conversation_id: "c1", listen: true });
    server.turn(1, { type: "error", code: "engine", text: "x" });
    done(1, "failed");
    await pass(0.5);
    expect(server.of("listen")).toHaveLength(1);
  });

  it("is not where the question was written", async () => {
    assistant.say("Set a timer");
    answer(1, 1, { listen: true });
    await pass(1.5);
    expect(browser.records).toBe(false);
    expect(newest()?.asksBack).toBe(true);
  });
});

describe("an open microphone", () => {
  it("answers what is said, and listens again when it has been heard", async () => {
    await handsFree("open");
    expect(server.of("listen")).toEqual([{ type: "listen", mode: "hands_free", wake_words: [] }]);
    expect(activity()).toBe("listening");
    expect(assistant.state.turns).toEqual([]);
    hear(1, "Hello");
    expect(newest()?.heard).toBe("Hello");
    answer(1, 1);
    await pass(0.5);
    expect(activity()).toBe("speaking");
    browser.speak(5);
    expect(server.of("listen")).toHaveLength(1);
    await pass(1);
    expect(server.of("listen")).toHaveLength(2);
    expect(server.session.audio).toHaveLength(0); // not its own voice
  });

  it("lets the server sleep in a silent room, and wakes it with the first word", async () => {
    await handsFree("open");
    browser.speak(20, 0);
    silence(1);
    browser.speak(20, 0);
    expect(activity()).toBe("listening");
    expect(assistant.state.turns).toEqual([]);
    expect(server.of("listen")).toHaveLength(1);
    browser.speak(2, 5);
    expect(server.of("listen")[1]).toEqual({ type: "listen", mode: "hands_free", wake_words: [] });
    const heard = server.session.audio.filter((_, at) => at % 1280 === 0);
    expect(heard).toEqual([...Array<number>(12).fill(0), 5, 5]);
  });

  it("sleeps no longer than it is open", async () => {
    await handsFree("open");
    silence(1);
    assistant.setHandsFree(false);
    expect(activity()).toBe("idle");
    assistant.press();
    await pass(0.1);
    browser.speak(1, 5);
    expect(server.of("listen")).toHaveLength(1);
  });

  it("waits a moment where something went wrong", async () => {
    await handsFree("open");
    server.turn(1, { type: "voice_started" }, { type: "error", code: "engine", text: "x" });
    done(1, "failed");
    expect(server.of("listen")).toHaveLength(1);
    expect(newest()?.problem?.code).toBe("engine");
    await pass(1.1);
    expect(server.of("listen")).toHaveLength(2);
  });

  it.each([
    [
      "an engine failed",
      () => {
        fail(1);
      },
    ],
    [
      "the server started again",
      () => {
        server.cut(1012);
      },
    ],
  ])("listens again after an answer that was cut short: %s", async (_, end) => {
    await handsFree("open");
    hear(1, "Hello");
    server.turn(1, { type: "audio_start", rate: 16_000, width: 2, channels: 1 });
    server.say(new ArrayBuffer(32_000));
    await pass(0.3);
    end();
    expect(activity()).toBe("speaking"); // what has come
    await pass(3);
    expect(activity()).toBe("listening");
    expect(server.of("listen")).toHaveLength(2);
    expect(newest()?.outcome).toBe("failed");
  });

  it("is what was wished for last while the browser asks", async () => {
    let allow = () => {};
    browser.asks = new Promise((resolve) => (allow = resolve));
    await handsFree("open");
    assistant.setHandsFree(false);
    await pass();
    assistant.setHandsFree(true);
    await pass();
    allow();
    await pass(0.1);
    expect(assistant.state).toMatchObject({ handsFree: true, microphone: { state: "on" }, activity: "listening" });
  });

  it("closes with the sign-in", async () => {
    server.token = server.shown = "secret";
    await handsFree("open");
    server.shown = null;
    server.cut(4401);
    await pass(1);
    expect(assistant.state).toMatchObject({ connection: { state: "signed-out" }, handsFree: false, activity: "idle" });
    expect(browser.records).toBe(false);
  });

  it("closes with a sign-out, and so does one that rests", async () => {
    await hold();
    assistant.release();
    silence(1);
    expect(browser.records).toBe(true);
    assistant.signOut();
    expect(browser.records).toBe(false);
  });

  it("closes at once", async () => {
    await handsFree("open");
    assistant.setHandsFree(false);
    expect(assistant.state).toMatchObject({ handsFree: false, activity: "idle", microphone: { state: "off" } });
    expect(browser.records).toBe(false);
    expect(server.types().slice(-1)).toEqual(["cancel"]);
    await pass(2);
    expect(server.of("listen")).toHaveLength(1);
  });

  it("is not opened in the mode of the key, and closed by it", async () => {
    assistant.setHandsFree(true);
    expect(assistant.state.handsFree).toBe(false);
    await handsFree("open");
    assistant.change({ mode: "push" });
    expect(assistant.state).toMatchObject({ handsFree: false, microphone: { state: "off" } });
  });

  it("is off again where there is no microphone", async () => {
    browser.error = new DOMException("", "NotFoundError");
    await handsFree("open");
    expect(assistant.state).toMatchObject({ handsFree: false, microphone: { state: "missing" } });
  });

  it("goes on over another connection", async () => {
    await handsFree("open");
    browser.speak(2, 1);
    server.cut();
    browser.speak(2, 2);
    await pass(1);
    expect(server.session.audio.filter((_, at) => at % 1280 === 0)).toEqual([1, 1, 2, 2]);
    server.cut(1012);
    await pass(2);
    expect(server.of("listen")).toHaveLength(2);
    expect(activity()).toBe("listening");
    expect(assistant.state.turns).toEqual([]);
  });

  it("takes another processing of sound", async () => {
    await handsFree("open");
    assistant.change({ echoCancellation: false });
    await pass(0.1);
    expect(browser.constraints[1]?.audio).toMatchObject({ echoCancellation: false });
    expect(assistant.state).toMatchObject({ handsFree: true, activity: "listening" });
  });

  it("takes another processing also while it opens", async () => {
    await handsFree("open");
    browser.asks = new Promise((resolve) => setTimeout(resolve, 200));
    assistant.change({ echoCancellation: false });
    await pass(0.1);
    assistant.change({ noiseSuppression: false });
    await pass(0.5);
    expect(browser.constraints.at(-1)?.audio).toMatchObject({ echoCancellation: false, noiseSuppression: false });
    expect(assistant.state).toMatchObject({ handsFree: true, activity: "listening" });
  });
});

describe("a wake word", () => {
  it("is waited for, and begins a question", async () => {
    await handsFree("wake");
    expect(server.of("listen")).toEqual([{ type: "listen", mode: "hands_free", wake_words: ["hey_jarvis"] }]);
    expect(activity()).toBe("waiting");
    browser.speak(3);
    expect(server.session.audio).toHaveLength(3840);
    server.turn(1, { type: "detection", name: "hey_jarvis", timestamp: 500 });
    expect(activity()).toBe("listening");
    expect(assistant.state.turns).toHaveLength(1);
    silence(1);
    expect(newest()?.problem?.code).toBe("no-speech");
    expect(activity()).toBe("waiting");
  });

  it("is not waited for where somebody speaks over another connection", async () => {
    await handsFree("wake");
    server.turn(1, { type: "detection", name: "hey_jarvis", timestamp: 500 });
    server.cut();
    await pass(1);
    expect(assistant.state.connection.state).toBe("connected");
    expect(server.of("listen")).toHaveLength(1);
    expect(activity()).toBe("listening");
  });

  it("is waited for while an answer sounds, and interrupts it", async () => {
    await handsFree("wake");
    server.turn(1, { type: "detection", name: "hey_jarvis", timestamp: 500 });
    hear(1, "Tell me a story");
    expect(server.of("listen")).toHaveLength(2);
    expect(activity()).toBe("thinking");
    answer(1, 10);
    await pass(1.02);
    expect(activity()).toBe("speaking");
    browser.speak(2);
    expect(server.session.audio).toHaveLength(2560);
    server.turn(2, { type: "detection", name: "hey_jarvis", timestamp: 500 });
    expect(played()).toEqual([{ turn: 1, seconds: expect.closeTo(1, 1) as number }]);
    expect(activity()).toBe("listening");
    expect(assistant.state.turns.map(({ interrupted }) => interrupted)).toEqual([true, false]);
    hear(2, "Stop");
    answer(2, 0);
    expect(server.of("listen")).toHaveLength(3);
    expect(activity()).toBe("waiting");
  });

  it("interrupts an answer that is still being made", async () => {
    await handsFree("wake");
    assistant.say("Tell me a story");
    expect(server.types().slice(-2)).toEqual(["text", "listen"]);
    server.turn(2, { type: "audio_start", rate: 16_000, width: 2, channels: 1 });
    server.say(new ArrayBuffer(320_000));
    await pass(1.02);
    server.turn(3, { type: "detection", name: "hey_jarvis", timestamp: 500 });
    done(2, "cancelled");
    expect(played()).toEqual([{ turn: 2, seconds: expect.closeTo(1, 1) as number }]);
    expect(assistant.state.turns[0]).toMatchObject({ outcome: "cancelled", interrupted: true });
    expect(activity()).toBe("listening");
  });

  it("needs none for the answer to a question", async () => {
    await handsFree("wake");
    server.turn(1, { type: "detection", name: "hey_jarvis", timestamp: 500 });
    hear(1, "Set a timer");
    answer(1, 1, { listen: true });
    await pass(1.2);
    expect(server.of("listen").map(({ wake_words }) => wake_words)).toEqual([["hey_jarvis"], ["hey_jarvis"], []]);
    done(2, "cancelled");
    expect(activity()).toBe("listening");
    silence(3);
    expect(activity()).toBe("waiting");
    expect(server.of("listen")).toHaveLength(4);
  });

  it("is no longer waited for, but the answer goes on", async () => {
    await handsFree("wake");
    assistant.say("Tell me a story");
    answer(2, 5);
    await pass(1);
    assistant.setHandsFree(false);
    expect(server.types().slice(-1)).toEqual(["end_audio"]);
    expect(activity()).toBe("speaking");
  });

  it("is waited for again after Stop", async () => {
    await handsFree("wake");
    assistant.say("Tell me a story");
    answer(2, 5);
    await pass(1);
    assistant.interrupt();
    expect(server.types().slice(-3)).toEqual(["played", "cancel", "listen"]);
    expect(activity()).toBe("waiting");
  });

  it("is another one", async () => {
    await handsFree("wake");
    assistant.change({ wakeWords: ["alexa", "unknown"] });
    expect(server.of("listen").at(-1)).toMatchObject({ wake_words: ["alexa"] });
    done(1, "cancelled");
    await pass(2);
    expect(server.of("listen")).toHaveLength(2);
    expect(activity()).toBe("waiting");
  });

  it("is waited for again where the server ended that", async () => {
    await handsFree("wake");
    server.turn(1, { type: "not_detected" });
    done(1, "completed");
    await pass(1.1);
    expect(server.of("listen")).toHaveLength(2);
    expect(assistant.state.turns).toEqual([]);
  });

  it("lets the key be used too", async () => {
    await handsFree("wake");
    await hold();
    expect(server.of("listen").at(-1)).toMatchObject({ mode: "push_to_talk", wake_words: [] });
    assistant.release();
    expect(server.types().slice(-2)).toEqual(["end_audio", "listen"]);
    expect(activity()).toBe("thinking");
  });
});

describe("what is kept", () => {
  it("comes back with the next page, and goes on with its conversation", async () => {
    assistant.say("Hello");
    answer(1, 0);
    await pass(1);
    assistant.stop();
    await begin();
    expect(assistant.state.turns).toMatchObject([{ heard: "Hello", outcome: "completed" }]);
    expect(server.of("start").at(-1)).toMatchObject({ conversation_id: "c1" });
  });

  it("is nothing where the settings say so", async () => {
    assistant.say("Hello");
    answer(1, 0);
    await pass(1);
    assistant.change({ keepHistory: false });
    await pass(1);
    assistant.stop();
    await begin();
    expect(assistant.state.turns).toEqual([]);
    expect(server.of("start").at(-1)).toMatchObject({ conversation_id: "" });
  });

  it("does not come back from another tab", async () => {
    assistant.say("Hello");
    answer(1, 0);
    await pass(1);
    const other = createAssistant("http://localhost/");
    other.start();
    await pass();
    expect(other.state.turns).toHaveLength(1);
    assistant.clearHistory();
    await pass(1);
    window.dispatchEvent(new Event("pagehide"));
    expect(localStorage.getItem("meadowlark.history")).not.toContain("Hello");
    window.dispatchEvent(new StorageEvent("storage", { key: "meadowlark.history", newValue: null }));
    expect(other.state.turns).toEqual([]);
    other.stop();
  });

  it("is nothing where another tab has been told so", async () => {
    assistant.say("Hello");
    localStorage.setItem("meadowlark.settings", '{"version": 1, "keepHistory": false}');
    window.dispatchEvent(new StorageEvent("storage", { key: "meadowlark.settings", newValue: "{}" }));
    answer(1, 0);
    await pass(1);
    expect(assistant.state.settings.keepHistory).toBe(false);
    expect(localStorage.getItem("meadowlark.history")).toBeNull();
  });

  it("is forgotten, and another conversation begins", async () => {
    assistant.say("Hello");
    answer(1, 0);
    await pass(1);
    assistant.clearHistory();
    await pass(1);
    expect(assistant.state.turns).toEqual([]);
    expect(localStorage.getItem("meadowlark.history")).not.toContain("Hello");
    expect(server.of("start").at(-1)).toMatchObject({ conversation_id: "" });
    assistant.say("Again");
    expect(server.session.turn).toBe(1);
  });
});

it("takes a new conversation, and leaves what was said", async () => {
  assistant.say("Hello");
  answer(1, 10);
  await pass(1);
  assistant.newConversation();
  await pass(0.1);
  expect(assistant.state.turns).toHaveLength(1);
  expect(server.of("start").at(-1)).toMatchObject({ conversation_id: "" });
  expect(activity()).toBe("idle");
});

it("changes the voice with the next session, in the same conversation, after the answer", async () => {
  assistant.say("Hello");
  answer(1, 2);
  await pass(0.5);
  assistant.change({ voice: "joe" });
  await pass(0.5);
  expect(server.of("start")).toHaveLength(1);
  await pass(1.5);
  expect(server.of("start")[1]).toMatchObject({ voice: "joe", conversation_id: "c1" });
  expect(assistant.state.connection).toEqual({ state: "connected" });
});

it("goes on with the conversation of the answer during which the voice was changed", async () => {
  assistant.say("Hello");
  assistant.change({ voice: "joe" });
  answer(1, 0);
  await pass(0.5);
  expect(server.of("start")[1]).toMatchObject({ voice: "joe", conversation_id: "c1" });
});

it("takes the secret of a pairing link out of the address", async () => {
  assistant.stop();
  server.token = "a secret/+";
  window.location.hash = `#token=${encodeURIComponent(server.token)}`;
  await begin();
  expect(assistant.state.connection).toEqual({ state: "connected" });
  expect(window.location.href).not.toContain("secret");
});

it("shows levels of what is said and what sounds", async () => {
  const levels: Level["from"][] = [];
  const end = assistant.watchLevel(({ from }) => levels.push(from));
  await hold();
  browser.speak(5, 64);
  assistant.release();
  hear(1, "Hello");
  answer(1, 1);
  await pass(1.2);
  expect(levels.filter((from) => from === "microphone")).toHaveLength(10);
  expect(levels.filter((from) => from === "answer").length).toBeGreaterThan(20);
  end();
  browser.speak(5);
  expect(levels.filter((from) => from === "microphone")).toHaveLength(10);
});

it("gives the same picture until something changes", () => {
  const before = assistant.state;
  let changes = 0;
  const end = assistant.subscribe(() => (changes += 1));
  expect(assistant.state).toBe(before);
  assistant.say("Hello");
  expect(assistant.state).not.toBe(before);
  expect(changes).toBeGreaterThan(0);
  end();
});

it("lets go of everything", async () => {
  await handsFree("wake");
  assistant.say("Hello");
  answer(2, 5);
  await pass(1);
  assistant.stop();
  await pass();
  expect(browser.records).toBe(false);
  expect(browser.contexts.every(({ state }) => state === "closed")).toBe(true);
  expect(server.sessions.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
  expect(assistant.state).toMatchObject({ activity: "idle", handsFree: false, microphone: { state: "off" } });
});

it("lets go of the microphone when the page goes", async () => {
  await handsFree("open");
  window.dispatchEvent(new Event("pagehide"));
  expect(browser.records).toBe(false);
});
