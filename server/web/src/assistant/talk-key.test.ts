// @vitest-environment node
import { beforeEach, expect, it, vi } from "vitest";

import { createTalkKey, TAP_MS, type TalkKey } from "./talk-key";

const BEFORE = [new ArrayBuffer(1), new ArrayBuffer(2)];

let said: string[];
let key: TalkKey;

beforeEach(() => {
  vi.useFakeTimers();
  said = [];
  key = createTalkKey({
    begin: (how, frames) => said.push(`${how} ${frames.map((frame) => frame.byteLength).join()}`),
    end: () => said.push("end"),
    failed: () => said.push("failed"),
  });
  return () => {
    vi.useRealTimers();
  };
});

async function press(open: boolean | Promise<boolean> = true) {
  key.press(Promise.resolve(open), () => BEFORE);
  await vi.advanceTimersByTimeAsync(0);
}

it("is held: what was said by then is not lost", async () => {
  await press();
  expect(key.frame(new ArrayBuffer(3))).toBe(true);
  await vi.advanceTimersByTimeAsync(TAP_MS - 1);
  expect(said).toEqual([]);
  expect(key.undecided).toBe(true);
  await vi.advanceTimersByTimeAsync(1);
  expect(said).toEqual(["push 1,2,3"]);
  expect(key.undecided).toBe(false);
  expect(key.frame(new ArrayBuffer(4))).toBe(false);
  key.release();
  key.release();
  expect(said).toEqual(["push 1,2,3", "end"]);
});

it("is tapped", async () => {
  await press();
  await vi.advanceTimersByTimeAsync(TAP_MS - 1);
  key.release();
  await vi.advanceTimersByTimeAsync(TAP_MS);
  expect(said).toEqual(["tap 1,2"]);
});

it("is held, and the microphone opens late", async () => {
  await press(new Promise((resolve) => setTimeout(resolve, 2000, true)));
  await vi.advanceTimersByTimeAsync(1999);
  expect(said).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  key.release();
  expect(said).toEqual(["push 1,2", "end"]);
});

it("is pressed where no microphone opens", async () => {
  await press(false);
  await vi.advanceTimersByTimeAsync(TAP_MS);
  key.release();
  expect(said).toEqual(["failed"]);
});

it("is pressed again before the first press has got its microphone", async () => {
  await press(new Promise((resolve) => setTimeout(resolve, 100, false)));
  await press();
  await vi.advanceTimersByTimeAsync(TAP_MS);
  expect(said).toEqual(["push 1,2"]);
});

it("keeps no more than two seconds", async () => {
  await press(new Promise(() => undefined));
  for (let frame = 0; frame < 1000; frame += 1) {
    key.frame(new ArrayBuffer(3));
  }
  key.reset();
  expect(key.undecided).toBe(false);
  expect(vi.getTimerCount()).toBe(0);
});
