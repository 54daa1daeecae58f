// @vitest-environment node
import { expect, it } from "vitest";

import { createFramer } from "./framer";
import { decodePcm, encodePcm, rms } from "./pcm";

it("makes frames of 20 ms from blocks of any size", () => {
  const frames: ArrayBuffer[] = [];
  const take = createFramer(16_000, (frame) => frames.push(frame));
  const sound = Float32Array.from({ length: 16_000 }, (_, index) => index / 32_768);
  for (let at = 0; at < sound.length; at += 128) {
    take(sound.slice(at, at + 128));
  }
  expect(frames.map((frame) => frame.byteLength)).toEqual(Array(50).fill(640));
  expect(frames.flatMap((frame) => [...new Int16Array(frame)])).toEqual(Array.from(sound, (_, index) => index));
});

it("brings another rate to 16 kHz", () => {
  let count = 0;
  const take = createFramer(48_000, () => (count += 1));
  for (let block = 0; block < 375; block += 1) {
    take(new Float32Array(128)); // a second
  }
  expect(count).toBe(49);
});

it("clips what is too loud, and reads what it wrote", () => {
  const samples = Float32Array.from([0, 0.5, -0.5, 1, -1, 2, -2]);
  expect([...new Int16Array(encodePcm(samples))]).toEqual([0, 16384, -16384, 32767, -32768, 32767, -32768]);
  expect([...decodePcm(encodePcm(samples))].slice(0, 3)).toEqual([0, 0.5, -0.5]);
});

it("reads one channel of several", () => {
  const stereo = new Int16Array([100, 200, 300, 400]).buffer;
  expect([...decodePcm(stereo, 2, 1)].map((sample) => sample * 32_768)).toEqual([200, 400]);
});

it("measures loudness", () => {
  expect(rms(Float32Array.from([0.5, -0.5]))).toBeCloseTo(0.5);
  expect(rms(new Float32Array())).toBe(0);
});
