// @vitest-environment node
import { describe, expect, it } from "vitest";

import { rms } from "./pcm";
import { createResampler } from "./resample";

function sine(frequency: number, rate: number, seconds: number): Float32Array {
  return Float32Array.from({ length: rate * seconds }, (_, index) =>
    Math.sin((2 * Math.PI * frequency * index) / rate),
  );
}

function decibels(sound: Float32Array): number {
  return 20 * Math.log10(rms(sound.slice(800)) * Math.SQRT2); // without the beginning, where the filter fills
}

describe.each([44_100, 48_000, 96_000])("a microphone of %i Hz", (rate) => {
  it("keeps speech as loud as it was", () => {
    for (const frequency of [100, 1000, 3000, 6000]) {
      expect(Math.abs(decibels(createResampler(rate, 16_000)(sine(frequency, rate, 1))))).toBeLessThan(0.1);
    }
  });

  it("folds nothing back from above half of the new rate", () => {
    for (const frequency of [8050, 9000, 12_000, 15_000, 20_000]) {
      expect(decibels(createResampler(rate, 16_000)(sine(frequency, rate, 1)))).toBeLessThan(-40);
    }
  });

  it("gives exactly as much as time goes by", () => {
    const resample = createResampler(rate, 16_000);
    let count = 0;
    for (let block = 0; block < (rate * 10) / 100; block += 1) {
      count += resample(new Float32Array(100)).length;
    }
    expect(Math.abs(count - 160_000)).toBeLessThan(40);
  });

  it("gives the same in one piece and in many", () => {
    const sound = sine(440, rate, 1);
    const whole = createResampler(rate, 16_000)(sound);
    const resample = createResampler(rate, 16_000);
    const pieces: number[] = [];
    for (let at = 0, size = 1; at < sound.length; at += size, size = (size % 300) + 1) {
      pieces.push(...resample(sound.slice(at, at + size)));
    }
    expect(pieces).toEqual([...whole]);
  });
});

it("also goes up", () => {
  expect(Math.abs(decibels(createResampler(8000, 16_000)(sine(1000, 8000, 1))))).toBeLessThan(0.1);
});
