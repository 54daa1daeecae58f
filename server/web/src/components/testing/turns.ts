/** Turns for tests. */

import type { Mark, Timeline, Turn } from "../../assistant/types";

export function timeline(marks: Partial<Record<Mark, number>>, route = "skill/GetTime"): Timeline {
  return {
    turn_id: "t",
    route,
    outcome: "completed",
    decision: { kind: "fast", confidence: 1, reason: "a skill knows the whole sentence" },
    guesses: { kept: 0, discarded: 0, dropped: 0, saved_ms: 0 },
    marks_ms: marks,
  };
}

export function turn(changes: Partial<Turn> = {}): Turn {
  return {
    id: "1",
    at: Date.parse("2026-11-20T10:00:00Z"),
    typed: false,
    heard: "What time is it?",
    heardAll: true,
    answer: "It's ten o'clock.",
    answeredAll: true,
    tools: [],
    outcome: "completed",
    problem: null,
    timeline: null,
    firstSoundMs: null,
    asksBack: false,
    interrupted: false,
    ...changes,
  };
}
