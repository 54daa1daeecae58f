import { expect, test } from "vitest";

import type { Mark } from "../assistant/types";
import { answeredBy, latencyOf } from "./latency";
import { timeline } from "./testing/turns";

function of(marks: Partial<Record<Mark, number>>, firstSoundMs: number | null = null, typed = false) {
  return latencyOf({ timeline: timeline(marks), firstSoundMs, typed });
}

test("the segments of a spoken turn add up to its first sound", () => {
  const marks = {
    speech_start: 200,
    speech_end: 1200,
    endpoint: 1350,
    transcript: 1400,
    route: 1402,
    first_sentence: 1410,
    first_audio: 1500,
    done: 3000,
  };
  const latency = of(marks, 340);
  expect(latency?.total).toBe(340);
  expect(latency?.until).toBe("sound");
  expect(latency?.segments.map((segment) => [segment.name, segment.ms])).toEqual([
    ["End of speech", 150],
    ["Transcript", 50],
    ["Route", 2],
    ["First sentence", 8],
    ["Voice", 90],
    ["Delivery", 40],
  ]);
  expect(latency?.segments.reduce((sum, segment) => sum + segment.ms, 0)).toBe(340);
});

test("a transcript made on a guess, before the end was certain, takes no time", () => {
  const latency = of({ speech_end: 1000, endpoint: 1300, transcript: 1200, first_audio: 1500 });
  expect(latency?.segments.map((segment) => segment.ms)).toEqual([300, 0, 200]);
  expect(latency?.total).toBe(500);
});

test("a typed turn counts from its beginning", () => {
  const latency = of({ transcript: 1, route: 3, first_token: 203, first_audio: 403, done: 900 }, 450, true);
  expect(latency?.total).toBe(450);
  expect(latency?.segments[0]).toMatchObject({ name: "Route", ms: 3 });
});

test("without sound the words count, and without words the end", () => {
  expect(of({ speech_end: 100, first_token: 350, done: 900 })).toMatchObject({ total: 250, until: "text" });
  const silent = of({ speech_end: 100, endpoint: 200, done: 900 });
  expect(silent).toMatchObject({ total: 800, until: "end" });
  expect(silent?.segments.at(-1)).toMatchObject({ name: "Rest", ms: 700 });
});

test("nothing is told where nothing was measured", () => {
  expect(of({ speech_start: 100, done: 900 })).toBeNull();
  expect(of({ speech_end: 100 })).toBeNull();
  expect(latencyOf({ timeline: null, firstSoundMs: 20, typed: true })).toBeNull();
});

test.each([
  ["skill/GetTime", "a built-in skill"],
  ["house/HassTurnOn", "Home Assistant"],
  ["none", "no language model"],
  ["qwen3:8b", "the language model qwen3:8b"],
  ["", ""],
])("the route %j is %j", (route, who) => {
  expect(answeredBy(route)).toBe(who);
});
