import { beforeEach, describe, expect, it, vi } from "vitest";

import { FakeBrowser } from "../audio/testing/fake-browser";
import { createAssistant } from "./assistant";
import { FakeServer, type Json } from "./testing/fake-server";
import { MOST_NOTICES, type Assistant } from "./types";

const CALL = { type: "notice", text: "The tea is ready.", language: "en", chime: true, rings: false };
const RING = { ...CALL, rings: true };

/** Of the chime with its rest, and of the speech. */
const CHIME_SECONDS = 1.05;
const SPEECH_SECONDS = 1;

let server: FakeServer;
let browser: FakeBrowser;
let assistant: Assistant;

beforeEach(async () => {
  vi.useFakeTimers();
  localStorage.clear();
  server = new FakeServer().install();
  browser = new FakeBrowser().install();
  assistant = createAssistant("http://localhost/");
  assistant.start();
  await pass();
  return () => {
    assistant.stop();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

async function pass(seconds = 0) {
  await vi.advanceTimersByTimeAsync(0);
  await browser.run(seconds);
}

async function call(id: string, fields: Json = CALL) {
  server.say({ ...fields, id });
  await pass(0.05);
}

/** A written question, and an answer that sounds so long. */
async function answer(turn: number, seconds: number) {
  assistant.say("Tell me a story");
  server.turn(turn, { type: "audio_start", rate: 16_000, width: 2, channels: 1 });
  server.say(new ArrayBuffer(seconds * 32_000));
  server.turn(turn, { type: "audio_stop" }, { type: "done", outcome: "completed" });
  await pass(0.1);
}

function outcomes(): unknown[] {
  return server.of("noticed").map(({ id, outcome }) => `${String(id)} ${String(outcome)}`);
}

/** How long each piece sounds, in seconds. */
function sounds(): number[] {
  const pieces = browser.contexts.flatMap(({ pieces }) => pieces);
  return pieces.map(({ buffer }) => (buffer ? buffer.length / buffer.rate : 0));
}

function texts(): string[] {
  return assistant.state.notices.map(({ text }) => text);
}

it("can be called, under a name that the browser keeps", () => {
  const [start] = server.of("start");
  expect(start).toMatchObject({ calls: true, name: expect.stringMatching(/^browser-[0-9a-f]{8}$/) as string });
  createAssistant("http://localhost/").start();
  expect(JSON.parse(localStorage.getItem("meadowlark.name") ?? "")).toMatchObject({ name: start?.["name"] });
});

describe("an announcement", () => {
  it("is shown, chimes and is spoken, says when it was heard, and stays until it is dismissed", async () => {
    await call("a");
    expect(assistant.state.notices).toEqual([{ id: "a", text: CALL.text, rings: false, sounds: true }]);
    expect(server.spoken).toEqual([{ text: CALL.text, language: "en" }]);
    expect(sounds()).toEqual([expect.closeTo(CHIME_SECONDS), SPEECH_SECONDS]);
    await pass(1.9);
    expect(outcomes()).toEqual([]);
    await pass(0.2);
    expect(outcomes()).toEqual(["a heard"]);
    await pass(60);
    expect(assistant.state.notices).toEqual([{ id: "a", text: CALL.text, rings: false, sounds: false }]);
    assistant.dismiss("a");
    expect(texts()).toEqual([]);
    expect(outcomes()).toEqual(["a heard"]);
  });

  it("comes without a chime where none is wanted", async () => {
    await call("a", { ...CALL, chime: false });
    expect(sounds()).toEqual([SPEECH_SECONDS]);
  });

  it("is quiet at once when it is dismissed", async () => {
    await call("a");
    await pass(0.5);
    assistant.dismiss("a");
    expect(outcomes()).toEqual(["a stopped"]);
    expect(texts()).toEqual([]);
    const stops = browser.contexts.flatMap(({ pieces }) => pieces).map(({ stopAt }) => stopAt);
    expect(Math.max(...stops)).toBeLessThan(0.6);
  });

  it("is quiet and gone when the server takes it back", async () => {
    await call("a");
    await call("b", { ...CALL, text: "Dinner!" });
    server.say({ type: "notice_end", id: "b" });
    server.say({ type: "notice_end", id: "a" }, { type: "notice_end", id: "unknown" });
    await pass(3);
    expect(texts()).toEqual([]);
    expect(outcomes()).toEqual([]);
    expect(sounds()).toHaveLength(2);
  });

  it("comes behind the one before it", async () => {
    await call("a");
    await call("b", { ...CALL, text: "Dinner!" });
    expect(texts()).toEqual([CALL.text, "Dinner!"]);
    expect(assistant.state.notices.map(({ sounds }) => sounds)).toEqual([true, false]);
    await pass(2.1);
    expect(outcomes()).toEqual(["a heard"]);
    await pass(2.1);
    expect(outcomes()).toEqual(["a heard", "b heard"]);
  });

  it("stays to be read where it cannot be spoken, or the browser is silent", async () => {
    await call("a");
    await pass(3);
    for (const context of browser.contexts) {
      Object.assign(context, { state: "suspended", mayResume: false });
    }
    await call("b", { ...CALL, text: "Dinner!" });
    await pass(2);
    vi.stubGlobal("AudioContext", undefined);
    server.speech = null;
    await call("c", { ...CALL, text: "Bed!" });
    await pass(2);
    expect(outcomes()).toEqual(["a heard", "b failed", "c failed"]);
    expect(texts()).toEqual([CALL.text, "Dinner!", "Bed!"]);
  });

  it("is one of a few", async () => {
    for (let count = 0; count < 2 * MOST_NOTICES; count += 1) {
      server.say({ ...CALL, id: String(count), text: `Number ${count}` });
    }
    await pass(0.1);
    expect(texts()).toHaveLength(MOST_NOTICES);
    expect(texts().at(-1)).toBe("Number 15");
    expect(outcomes()).toHaveLength(MOST_NOTICES);
    await pass(20);
    expect(outcomes().filter((outcome) => String(outcome).endsWith("heard"))).toHaveLength(MOST_NOTICES);
  });
});

describe("a timer", () => {
  it("has one card for all its rings, which is gone some time after the last one", async () => {
    await call("a", RING);
    await pass(2.1);
    expect(outcomes()).toEqual(["a heard"]);
    await pass(5);
    expect(assistant.state.notices).toEqual([{ id: "a", text: RING.text, rings: true, sounds: false }]);
    await call("b", RING);
    expect(assistant.state.notices).toEqual([{ id: "a", text: RING.text, rings: true, sounds: true }]);
    await pass(9);
    expect(texts()).toEqual([RING.text]);
    await pass(2);
    expect(texts()).toEqual([]);
    expect(server.spoken).toHaveLength(1);
  });

  it("is stopped while it rings", async () => {
    await call("a", RING);
    assistant.dismiss("a");
    expect(outcomes()).toEqual(["a stopped"]);
    await call("b", RING); // set anew
    expect(texts()).toEqual([RING.text]);
  });

  it("is stopped between two rings", async () => {
    await call("a", RING);
    await pass(3);
    await call("b", RING);
    await pass(3);
    assistant.dismiss("a");
    expect(texts()).toEqual([]);
    expect(outcomes()).toEqual(["a heard", "b heard", "b stopped"]);
  });

  it("chimes where it cannot be spoken", async () => {
    server.speech = null;
    await call("a", RING);
    await pass(2);
    expect(outcomes()).toEqual(["a heard"]);
  });

  it("can be read where it could not be heard", async () => {
    server.speech = null;
    await call("a", { ...RING, chime: false });
    await pass(10);
    expect(outcomes()).toEqual(["a failed"]);
    expect(assistant.state.notices).toMatchObject([{ id: "a", rings: false }]);
  });
});

describe("beside a turn", () => {
  it("waits for the end of the answer", async () => {
    await answer(1, 3);
    await call("a");
    expect(texts()).toEqual([CALL.text]);
    expect(sounds()).toEqual([3]);
    await pass(2.5);
    expect(sounds()).toEqual([3]);
    await pass(0.6);
    expect(assistant.state.activity).toBe("idle");
    expect(sounds()).toHaveLength(3);
  });

  it("waits not for ever", async () => {
    await answer(1, 30);
    await call("a");
    await pass(9.5);
    expect(sounds()).toHaveLength(1);
    await pass(1);
    expect(sounds()).toHaveLength(3);
    expect(assistant.state.activity).toBe("speaking");
  });

  it("is quiet when somebody asks, and rings on when that is answered", async () => {
    await call("a", RING);
    await pass(1);
    assistant.say("Which timer is this?");
    expect(outcomes()).toEqual(["a heard"]);
    await call("b", RING);
    expect(sounds()).toHaveLength(2);
    server.turn(1, { type: "done", outcome: "completed" });
    await pass(0.1);
    expect(sounds()).toHaveLength(4);
  });

  it("does not reach an open microphone", async () => {
    assistant.change({ mode: "open" });
    assistant.setHandsFree(true);
    await pass(0.1);
    expect(server.of("listen")).toHaveLength(1);
    browser.speak(2, 1);
    await call("a");
    expect(server.types().at(-1)).toBe("cancel");
    server.turn(1, { type: "done", outcome: "cancelled" });
    const before = server.of("audio").length;
    browser.speak(20, 9);
    await pass(1.5);
    expect(server.of("audio")).toHaveLength(before);
    expect(assistant.state.handsFree).toBe(true);
    await pass(1);
    expect(outcomes()).toEqual(["a heard"]);
    expect(server.of("listen")).toHaveLength(2);
    browser.speak(1, 2);
    expect(new Set(server.session.audio)).toEqual(new Set([2]));
  });

  it("does not talk into what somebody says", async () => {
    assistant.change({ mode: "open" });
    assistant.setHandsFree(true);
    await pass(0.1);
    server.turn(1, { type: "voice_started" });
    await call("a");
    await pass(1);
    expect(sounds()).toEqual([]);
    server.turn(1, { type: "voice_stopped" }, { type: "done", outcome: "completed" });
    await pass(0.1);
    expect(sounds()).toHaveLength(2);
  });

  it.each([
    [0.5, "a failed"],
    [1.5, "a heard"],
  ])("makes room for a key that is pressed, after %f s: %s", async (seconds, outcome) => {
    await call("a");
    await pass(seconds);
    assistant.press();
    expect(outcomes()).toEqual([outcome]);
    await pass(0.5);
    expect(assistant.state.activity).toBe("listening");
  });
});

describe("over another connection", () => {
  it("comes late, and its end is told", async () => {
    await call("a");
    server.cut();
    server.say({ ...CALL, id: "b", text: "Dinner!" });
    await pass(5);
    expect(texts()).toEqual([CALL.text, "Dinner!"]);
    expect(outcomes()).toEqual(["a heard", "b heard"]);
  });

  it("is over with its session, but can be read", async () => {
    await call("a");
    await call("b", { ...RING, text: "Eggs!" });
    server.cut(1012);
    await pass(2);
    expect(outcomes()).toEqual([]);
    expect(texts()).toEqual([CALL.text, "Eggs!"]);
    await pass(8);
    expect(texts()).toEqual([CALL.text]);
  });

  it("is taken away with the person whose it was", async () => {
    await call("a");
    assistant.signOut();
    expect(texts()).toEqual([]);
    await pass(3);
    expect(outcomes()).toEqual([]);
  });
});
