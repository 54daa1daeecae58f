// @vitest-environment node
import { describe, expect, it } from "vitest";

import { parse } from "./protocol";

describe("frames that are none of ours", () => {
  it.each(["", "no JSON", "null", "[]", "7", '"ready"', "{}", '{"type": 7, "turn": 1}', '{"type": "pong"}'])(
    "%s",
    (frame) => {
      expect(parse(frame)).toBeNull();
    },
  );

  it("a type of a newer server", () => {
    expect(parse('{"type": "weather", "turn": 1}')).toBeNull();
  });

  it("sound that cannot be played", () => {
    expect(parse('{"type": "audio_start", "turn": 1, "rate": 22050, "width": 4, "channels": 1}')).toBeNull();
    expect(parse('{"type": "audio_start", "turn": 1, "rate": 0, "width": 2, "channels": 1}')).toBeNull();
  });
});

it("reads the greeting, and leaves out what it does not know", () => {
  const voices = [{ name: "joe", languages: ["en", 7], more: 1 }, null];
  const ready = { type: "ready", protocol: 1, session: "s", resumed: true, turn: 3, audio_received: 640, voices };
  expect(parse(JSON.stringify({ ...ready, wake_words: ["alexa", {}], limits: {} }))).toEqual({
    ...ready,
    voices: [{ name: "joe", languages: ["en"] }],
    wake_words: ["alexa"],
  });
});

it("takes what is missing or of another kind for nothing", () => {
  expect(parse('{"type": "handled", "turn": 2, "text": 5, "volume": 3}')).toEqual({
    ...{ type: "handled", turn: 2, text: "", conversation_id: "", listen: false, volume: null },
  });
  expect(parse('{"type": "done", "turn": 2, "outcome": "?", "timeline": {}}')).toEqual({
    ...{ type: "done", turn: 2, outcome: "completed", timeline: null },
  });
});

it("reads a volume, and the marks of a turn", () => {
  expect(parse('{"type": "handled", "turn": 2, "volume": {"change": -10}}')).toMatchObject({
    volume: { change: -10, to: null },
  });
  const done = parse(
    '{"type": "done", "turn": 2, "timeline": {"route": "skill", "marks_ms": {"done": 5.5, "wake": "x"}}}',
  );
  expect(done).toMatchObject({
    timeline: { route: "skill", marks_ms: { done: 5.5 }, decision: { confidence: null }, guesses: { kept: 0 } },
  });
  expect(JSON.stringify(done)).not.toContain("wake");
});

it("tells errors of a turn from those of the connection", () => {
  expect(parse('{"type": "error", "turn": 1, "code": "busy", "text": "t"}')).toEqual({
    ...{ type: "error", turn: 1, code: "busy", text: "t" },
  });
  expect(parse('{"type": "error", "code": "no-start", "text": "t", "fatal": true}')).toEqual({
    ...{ type: "refusal", code: "no-start", text: "t", fatal: true },
  });
});
