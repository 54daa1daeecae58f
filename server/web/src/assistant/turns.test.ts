// @vitest-environment node
import { expect, it } from "vitest";

import type { TurnEvent } from "./protocol";
import { after, atRest, changed, sinceSpeech, unheard, withoutTurn, withTurn } from "./turns";
import { MOST_TURNS, type Timeline, type Turn } from "./types";

const TIMELINE: Timeline = {
  ...{ turn_id: "t", route: "skill", outcome: "completed" },
  decision: { kind: "fast", confidence: 1, reason: "" },
  guesses: { kept: 0, discarded: 0, dropped: 0, saved_ms: 0 },
  marks_ms: { speech_end: 1000, transcript: 1300 },
};

function spoken(...events: TurnEvent[]): Turn {
  const [turn] = withTurn([], "a", 5, null);
  if (!turn) {
    throw new Error("no turn");
  }
  return events.reduce(after, turn);
}

it("writes down a spoken question and its answer", () => {
  const turn = spoken(
    { type: "transcript_chunk", text: "Turn on " },
    { type: "transcript_chunk", text: "the light" },
    { type: "transcript", text: "Turn on the light." },
    { type: "tool_start", call: "1", name: "switch" },
    { type: "tool_start", call: "2", name: "dim" },
    { type: "tool_stop", call: "1", name: "switch", failed: false },
    { type: "tool_stop", call: "2", name: "dim", failed: true },
    { type: "handled_chunk", text: "It is" },
    { type: "handled_chunk", text: " on. More" },
    { type: "handled", text: "It is on. More?", conversation_id: "c", listen: true, volume: null },
    { type: "done", outcome: "completed", timeline: TIMELINE },
  );
  expect(turn).toEqual({
    ...{ id: "a", at: 5, typed: false, heard: "Turn on the light.", heardAll: true },
    ...{ answer: "It is on. More?", answeredAll: true, outcome: "completed", problem: null, timeline: TIMELINE },
    tools: [
      { call: "1", name: "switch", state: "finished" },
      { call: "2", name: "dim", state: "failed" },
    ],
    ...{ firstSoundMs: null, asksBack: true, interrupted: false },
  });
});

it("shows what was heard and said by now", () => {
  const turn = spoken({ type: "transcript_chunk", text: "Turn on " }, { type: "handled_chunk", text: "It" });
  expect(turn).toMatchObject({ heard: "Turn on ", heardAll: false, answer: "It", answeredAll: false });
});

it("says in words for people what went wrong, and in the server's where it knows none", () => {
  expect(spoken({ type: "error", code: "no-speech", text: "x" }).problem?.text).toContain("I heard nothing");
  expect(spoken({ type: "error", code: "new-code", text: "Words." }).problem).toEqual({
    code: "new-code",
    text: "Words.",
  });
  expect(spoken({ type: "error", code: "new-code", text: "" }).problem?.text).toContain("try again");
});

it("says so where an answer was not heard, unless something worse happened", () => {
  expect(unheard(spoken()).problem).toMatchObject({
    code: "no-sound",
    text: expect.stringContaining("Click") as string,
  });
  expect(unheard(spoken({ type: "error", code: "engine", text: "x" })).problem?.code).toBe("engine");
});

it("keeps the last turns only", () => {
  let turns: Turn[] = [];
  for (let turn = 0; turn < MOST_TURNS + 5; turn += 1) {
    turns = withTurn(turns, String(turn), turn, "question");
  }
  expect(turns).toHaveLength(MOST_TURNS);
  expect(turns[0]?.id).toBe("5");
  expect(turns.at(-1)).toMatchObject({ typed: true, heard: "question", heardAll: true, outcome: "running" });
});

it("changes one turn, and leaves the others as they are", () => {
  const turns = withTurn(withTurn([], "a", 1, "one"), "b", 2, "two");
  const now = changed(turns, "b", (turn) => ({ ...turn, answer: "2" }));
  expect(now[0]).toBe(turns[0]);
  expect(now[1]?.answer).toBe("2");
  expect(withoutTurn(now, "b")).toEqual([turns[0]]);
});

it("ends what a page before has left running", () => {
  expect(atRest(spoken()).outcome).toBe("cancelled");
  const ended = spoken({ type: "done", outcome: "failed", timeline: null });
  expect(atRest(ended)).toBe(ended);
});

it("counts from the end of speech", () => {
  expect(sinceSpeech(spoken({ type: "done", outcome: "completed", timeline: TIMELINE }), 250.4)).toBe(550);
  expect(sinceSpeech(spoken(), 250)).toBeNull();
});
