// @vitest-environment node
import { expect, it } from "vitest";

import { createKeptAudio } from "./kept-audio";
import { counting } from "./testing/fake-server";

function bytes(frames: ArrayBuffer[] | null): number[] | null {
  return frames && frames.flatMap((frame) => [...new Uint8Array(frame)]);
}

it("has what comes from any byte on", () => {
  const audio = createKeptAudio(100);
  audio.push(counting(0, 3));
  audio.push(counting(3, 3));
  expect(bytes(audio.since(0))).toEqual([0, 1, 2, 3, 4, 5]);
  expect(bytes(audio.since(2))).toEqual([2, 3, 4, 5]);
  expect(bytes(audio.since(3))).toEqual([3, 4, 5]);
  expect(bytes(audio.since(6))).toEqual([]);
  expect(bytes(audio.since(9))).toEqual([]);
});

it("forgets the oldest, and says so", () => {
  const audio = createKeptAudio(6);
  for (let frame = 0; frame < 4; frame += 1) {
    audio.push(counting(frame * 3, 3));
  }
  expect(audio.since(5)).toBeNull();
  expect(bytes(audio.since(6))).toEqual([6, 7, 8, 9, 10, 11]);
});

it("gives the newest in place of what was forgotten", () => {
  const audio = createKeptAudio(6);
  for (let frame = 0; frame < 4; frame += 1) {
    audio.push(counting(frame * 3, 3));
  }
  expect(bytes(audio.newest(3, 2))).toEqual([9, 10, 11]);
  audio.push(counting(12, 3));
  expect(bytes(audio.since(5))).toEqual([12, 13, 14]);
});
