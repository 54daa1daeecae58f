import { expect, test } from "vitest";

import { memoryKeys, memoryName, sourceWords } from "./names";

test("one's own memory comes first, and the household's is always there", () => {
  expect(memoryKeys([], "")).toEqual(["household"]);
  expect(memoryKeys(["household", "satellite:hall", "person:kim"], "anna")).toEqual([
    "person:anna",
    "household",
    "person:kim",
    "satellite:hall",
  ]);
});

test("memories have names", () => {
  expect(memoryName("household", "anna")).toBe("Household");
  expect(memoryName("person:anna", "anna")).toBe("Mine");
  expect(memoryName("person:a:b", "anna")).toBe("a:b");
  expect(memoryName("satellite:hall", "")).toBe("Satellite hall");
  expect(memoryName("attic/household", "")).toBe("attic/household");
});

test("a note says where it comes from", () => {
  expect(sourceWords({ origin: "said", speaker: "anna", room: "kitchen", satellite: "k1" })).toBe(
    "asked to remember, by anna, in kitchen",
  );
  expect(sourceWords({ origin: "api", speaker: "", room: "", satellite: "" })).toBe("written here");
});
