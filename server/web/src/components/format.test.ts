import { expect, test } from "vitest";

import { count, languageName, seconds, span, wakeWordName, words } from "./format";

test.each([
  [0, "0 ms"],
  [80.4, "80 ms"],
  [99.7, "0.1 s"],
  [412, "0.4 s"],
  [2_960, "3.0 s"],
  [9_990, "10 s"],
])("%d ms is %s", (ms, text) => {
  expect(seconds(ms)).toBe(text);
});

test.each([
  [-1, "0 seconds"],
  [1.9, "1 second"],
  [3_599, "59 minutes"],
  [7_300, "2 hours"],
  [200_000, "2 days"],
])("%d seconds are %s", (of, text) => {
  expect(span(of)).toBe(text);
});

test("names of programs become words", () => {
  expect(words("HassTurnOn")).toBe("hass turn on");
  expect(words("set_timer")).toBe("set timer");
  expect(wakeWordName("hey_jarvis_v0.1")).toBe("Hey Jarvis V0 1");
  expect(wakeWordName("hey_meadowlark")).toBe("Hey Meadowlark");
});

test("languages have names", () => {
  expect(languageName("de")).toBe("German (de)");
  expect(languageName("not a tag")).toBe("not a tag");
});

test("one is not many", () => {
  expect(count(1, "memory", "memories")).toBe("1 memory");
  expect(count(1200, "memory", "memories")).toBe("1,200 memories");
});
