// @vitest-environment node
import { expect, it } from "vitest";

import { wav } from "../assistant/testing/fake-server";
import { chime } from "./chime";
import { decodePcm } from "./pcm";
import { readWav } from "./wav";

it("takes all samples of a file of unknown length", () => {
  expect(readWav(wav(0.5, 22_050))).toMatchObject({ rate: 22_050, channels: 1, pcm: { byteLength: 22_050 } });
});

it("passes over what lies before the samples", () => {
  const file = new Uint8Array(wav(0.1));
  const odd = new TextEncoder().encode("LIST\u0003\0\0\0abc\0");
  const longer = Uint8Array.from([...file.slice(0, 36), ...odd, ...file.slice(36)]);
  expect(readWav(longer.buffer)?.pcm.byteLength).toBe(3200);
});

it.each(["", "RIFF", "RIFF....WAVE", "no file of sound at all, but longer than its header"])(
  "is not fooled by '%s'",
  (text) => {
    expect(readWav(new TextEncoder().encode(text).slice().buffer)).toBeNull();
  },
);

it("takes no other samples than 16 bits", () => {
  const file = wav(0.1);
  new DataView(file).setUint16(34, 24, true);
  expect(readWav(file)).toBeNull();
});

it("chimes softly on all channels, and begins and ends in silence", () => {
  const sound = chime(16_000, 2);
  const [left, right] = [decodePcm(sound, 2, 0), decodePcm(sound, 2, 1)];
  expect(left).toEqual(right);
  expect(left).toHaveLength(16_800);
  expect(Math.max(...left)).toBeGreaterThan(0.3);
  expect(Math.max(...left)).toBeLessThan(0.4);
  expect([left[0], left.at(-1)]).toEqual([0, 0]);
});
