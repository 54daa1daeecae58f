import { expect, test } from "vitest";

import { pageOf } from "./route";

test.each([
  ["", "talk"],
  ["#/", "talk"],
  ["#/memory", "memory"],
  ["#/memory/", "memory"],
  ["#/status?from=mail", "status"],
  ["#/settings", "settings"],
  ["#/nothing", "talk"],
  ["#token=secret", "talk"],
])("the fragment %j is the page %s", (fragment, page) => {
  expect(pageOf(fragment)).toBe(page);
});
