import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";

import type { Turn } from "../assistant/types";
import { LiveRegion } from "./LiveRegion";
import { fakeAssistant } from "./testing/fakeAssistant";
import { turn } from "./testing/turns";

afterEach(cleanup);

function region(turns: readonly Turn[]) {
  return <LiveRegion state={fakeAssistant({ turns }).state} said={[]} />;
}

test("an answer is told once, also where a question behind it was begun and dropped", () => {
  const at = Date.now() + 1000;
  const one = turn({ id: "1", at, typed: true, answer: "One." });
  const two = turn({ id: "2", at, typed: true, answer: "Two." });
  const begun = turn({ id: "3", at, heard: "", heardAll: false, answer: "", answeredAll: false, outcome: "running" });
  const { rerender } = render(region([one, two]));
  const told = screen.getByText("One.");
  rerender(region([one, two, begun]));
  rerender(region([one, two]));
  expect(screen.getByText("One.")).toBe(told); // not put there again, which a reader would tell
});

test("only the newest turns are told", () => {
  const at = Date.now() + 1000;
  const { container } = render(
    region(["One.", "Two.", "Three."].map((answer) => turn({ id: answer, at, typed: true, answer }))),
  );
  expect([...container.querySelectorAll("p")].map((p) => p.textContent)).toEqual(["", "Two.", "Three."]);
});
