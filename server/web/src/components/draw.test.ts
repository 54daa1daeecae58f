import { expect, test } from "vitest";

import { step, stillPicture, type Aim } from "./draw";

const QUIET: Aim = { wave: 0, level: 0, thinking: false, samples: null };
const voice = Float32Array.from({ length: 512 }, (_, i) => 0.4 * Math.sin(i / 5));

test("nothing moves in silence, so that nothing has to be drawn", () => {
  expect(step(stillPicture(), QUIET, 16)).toBe(false);
});

test("a voice fills the ring, and the V becomes a wave that fades at both ends", () => {
  const picture = stillPicture();
  for (let i = 0; i < 60; i++)
    expect(step(picture, { wave: 1, level: 0.25, thinking: false, samples: voice }, 16)).toBe(true);
  expect(picture.level).toBeCloseTo(1, 2);
  expect(picture.wave).toBeGreaterThan(0.99);
  const heights = picture.points.map(Math.abs);
  expect(Math.max(...heights)).toBeGreaterThan(0.6);
  expect(heights[0]).toBeLessThan(0.1);
});

test("after a voice it comes to rest", () => {
  const picture = stillPicture();
  for (let i = 0; i < 30; i++) step(picture, { wave: 1, level: 0.25, thinking: false, samples: voice }, 16);
  let moves = true;
  for (let i = 0; i < 200 && moves; i++) moves = step(picture, QUIET, 16);
  expect(moves).toBe(false);
  expect(picture.wave).toBeLessThan(0.01);
});

test("while it thinks it goes on moving", () => {
  const picture = stillPicture();
  expect(step(picture, { ...QUIET, thinking: true }, 16)).toBe(true);
  expect(picture.thinking).toBeGreaterThan(0);
});
