// @vitest-environment node
import { expect, it } from "vitest";

import { createGate } from "./gate";
import { encodePcm, FRAME_SAMPLES } from "./pcm";

/** Noise of this level, the same for each seed. */
function noise(level: number, seed: number): ArrayBuffer {
  let state = seed + 1;
  const samples = Float32Array.from({ length: FRAME_SAMPLES }, () => {
    state = (state * 48_271) % 2_147_483_647;
    return (state / 2_147_483_647 - 0.5) * Math.sqrt(12) * level;
  });
  return encodePcm(samples);
}

function count(gate: (pcm: ArrayBuffer) => boolean, level: number, frames: number): number {
  return Array.from({ length: frames }, (_, frame) => gate(noise(level, frame))).filter(Boolean).length;
}

it("hears nothing in silence, and speech at once", () => {
  const gate = createGate();
  expect(count(gate, 0, 50)).toBe(0);
  expect(gate(noise(0.003, 1))).toBe(true);
});

it("hears speech over a fan, but not the fan", () => {
  const gate = createGate();
  expect(count(gate, 0.01, 200)).toBe(0);
  expect(count(gate, 0.022, 3)).toBe(3);
});

it("gets used to a fan that is switched on", () => {
  const gate = createGate();
  count(gate, 0.001, 100);
  expect(gate(noise(0.01, 1))).toBe(true);
  count(gate, 0.01, 500);
  expect(count(gate, 0.01, 50)).toBe(0);
});
