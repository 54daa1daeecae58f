// @vitest-environment node
import { beforeEach, describe, expect, it, vi } from "vitest";

import type { Microphone } from "../assistant/types";
import { createCapture, REST_MS, type Capture } from "./capture";
import { FakeBrowser } from "./testing/fake-browser";

const PROCESSING = { echoCancellation: true, noiseSuppression: false, autoGainControl: true };

let browser: FakeBrowser;
let states: Microphone[];
let frames: number;
let capture: Capture;

beforeEach(() => {
  vi.useFakeTimers();
  browser = new FakeBrowser().install();
  states = [];
  frames = 0;
  capture = createCapture(
    (state) => states.push(state),
    () => (frames += 1),
  );
  return () => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

it("opens the microphone as the settings say", async () => {
  expect(await capture.open(PROCESSING)).toBe(true);
  expect(states).toEqual([{ state: "asking" }, { state: "on", label: "Desk microphone" }]);
  expect(browser.constraints[0]?.audio).toEqual({ channelCount: 1, ...PROCESSING });
  expect(browser.contexts[0]?.sampleRate).toBe(16_000);
  browser.speak(3);
  expect(frames).toBe(6);
});

it("leaves the rate to the worklet where the browser does not resample", async () => {
  browser.strict = true;
  expect(await capture.open(PROCESSING)).toBe(true);
  expect(browser.contexts.map(({ sampleRate, state }) => [sampleRate, state])).toEqual([
    [16_000, "closed"],
    [48_000, "running"],
  ]);
});

it("keeps the last half second, until it is not wanted", async () => {
  await capture.open(PROCESSING);
  for (let content = 1; content <= 20; content += 1) {
    browser.speak(1, content);
  }
  expect(capture.recent(3).map((frame) => new Uint8Array(frame)[0])).toEqual([19, 20, 20]);
  expect(capture.recent(Infinity)).toHaveLength(24);
  capture.forget();
  expect(capture.recent(Infinity)).toEqual([]);
});

describe("letting go", () => {
  it("happens half a minute after the last use", async () => {
    await capture.open(PROCESSING);
    capture.rest();
    await vi.advanceTimersByTimeAsync(REST_MS - 1);
    expect(browser.records).toBe(true);
    await vi.advanceTimersByTimeAsync(1);
    expect(browser.records).toBe(false);
    expect(browser.contexts[0]?.state).toBe("closed");
    expect(states.at(-1)).toEqual({ state: "off" });
  });

  it("does not happen while it is used again", async () => {
    await capture.open(PROCESSING);
    capture.rest();
    await capture.open(PROCESSING);
    await vi.advanceTimersByTimeAsync(REST_MS * 2);
    expect(browser.records).toBe(true);
    expect(browser.tracks).toHaveLength(1);
  });

  it("also of one that the person has not allowed yet", async () => {
    let allow = () => {};
    browser.asks = new Promise((resolve) => (allow = resolve));
    const opening = capture.open(PROCESSING);
    const again = capture.open(PROCESSING);
    capture.close();
    allow();
    expect(await opening).toBe(false);
    expect(await again).toBe(false);
    expect(browser.records).toBe(false);
    expect(states.at(-1)).toEqual({ state: "off" });
  });

  it("happens as late of one that the person allows when it is not wanted any more", async () => {
    let allow = () => {};
    browser.asks = new Promise((resolve) => (allow = resolve));
    const opening = capture.open(PROCESSING);
    capture.rest();
    allow();
    expect(await opening).toBe(true);
    await vi.advanceTimersByTimeAsync(REST_MS);
    expect(browser.records).toBe(false);
    expect(states.at(-1)).toEqual({ state: "off" });
  });

  it("and asking again at once asks once", async () => {
    const first = capture.open(PROCESSING);
    capture.close();
    const second = capture.open(PROCESSING);
    expect(await first).toBe(false);
    await Promise.resolve();
    const third = capture.open(PROCESSING);
    expect(await Promise.all([second, third])).toEqual([true, true]);
    expect(browser.tracks.filter(({ stopped }) => !stopped)).toHaveLength(1);
  });

  it("leaves what went wrong on the screen", async () => {
    browser.error = new DOMException("", "NotFoundError");
    await capture.open(PROCESSING);
    capture.rest();
    await vi.advanceTimersByTimeAsync(REST_MS);
    expect(states.at(-1)).toEqual({ state: "missing" });
  });
});

describe("what went wrong", () => {
  it("is forgotten where another microphone is there", async () => {
    browser.error = new DOMException("", "NotFoundError");
    await capture.open(PROCESSING);
    browser.devices.dispatchEvent(new Event("devicechange"));
    expect(states.at(-1)).toEqual({ state: "off" });
    browser.devices.dispatchEvent(new Event("devicechange"));
    expect(states).toHaveLength(3);
  });

  it("is forgotten where the person thinks better of it", async () => {
    browser.error = new DOMException("", "NotAllowedError");
    await capture.open(PROCESSING);
    await vi.advanceTimersByTimeAsync(0);
    browser.devices.dispatchEvent(new Event("devicechange"));
    expect(states.at(-1)).toEqual({ state: "denied", forGood: false });
    browser.decision.dispatchEvent(new Event("change"));
    expect(states.at(-1)).toEqual({ state: "off" });
  });
});

describe("what can go wrong", () => {
  it.each([
    ["NotAllowedError", "prompt", { state: "denied", forGood: false }],
    ["NotAllowedError", "denied", { state: "denied", forGood: true }],
    ["NotFoundError", "prompt", { state: "missing" }],
    ["OverconstrainedError", "prompt", { state: "missing" }],
    ["NotReadableError", "granted", { state: "failed", text: expect.stringContaining("another program") as string }],
    ["TypeError", "granted", { state: "failed", text: "message" }],
  ])("%s with the permission '%s'", async (name, permission, state) => {
    browser.error = new DOMException("message", name);
    browser.permission = permission;
    expect(await capture.open(PROCESSING)).toBe(false);
    expect(states.at(-1)).toEqual(state);
  });

  it("plain HTTP", async () => {
    vi.stubGlobal("isSecureContext", false);
    vi.stubGlobal("navigator", {});
    expect(await capture.open(PROCESSING)).toBe(false);
    expect(states.at(-1)).toEqual({ state: "insecure" });
  });

  it("a browser without microphones", async () => {
    vi.stubGlobal("navigator", {});
    expect(await capture.open(PROCESSING)).toBe(false);
    expect(states.at(-1)).toMatchObject({ state: "failed" });
  });

  it.each([
    ["granted", { state: "missing" }],
    ["denied", { state: "denied", forGood: true }],
  ])("a microphone that goes while it is open, with the permission '%s'", async (permission, state) => {
    await capture.open(PROCESSING);
    browser.permission = permission;
    browser.tracks[0]?.dispatchEvent(new Event("ended"));
    await vi.advanceTimersByTimeAsync(0);
    expect(states.at(-1)).toEqual(state);
    expect(browser.records).toBe(false);
    expect(await capture.open(PROCESSING)).toBe(true);
  });
});
