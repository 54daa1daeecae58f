// @vitest-environment node
import { beforeEach, describe, expect, it, vi } from "vitest";

import type { Call, CallEnd, Listen, Ready, TurnEvent } from "./protocol";
import { createSession, RESUME_MS, type Frame, type Session } from "./session";
import { counting, type Json } from "./testing/fake-server";

const START = { language: "", voice: "", conversation_id: "", name: "browser-00000000", calls: true };
const LISTEN: Listen = { type: "listen", mode: "hands_free", wake_words: [] };
const WAIT: Listen = { ...LISTEN, wake_words: ["alexa"] };

let session: Session;
let events: [number, TurnEvent][];
let sounds: [number, number][];
let calls: (Call | CallEnd)[];

beforeEach(() => {
  vi.useFakeTimers();
  events = [];
  sounds = [];
  calls = [];
  session = createSession({
    event: (key, event) => events.push([key, event]),
    sound: (key, pcm) => sounds.push([key, pcm.byteLength]),
    call: (message) => calls.push(message),
  });
  return () => {
    vi.useRealTimers();
  };
});

function plug(fields: Partial<Ready> = {}): Frame[] {
  const sent: Frame[] = [];
  const ready: Ready = {
    ...{ type: "ready", protocol: 1, session: "one", resumed: false, turn: 0, audio_received: 0 },
    ...{ voices: [], wake_words: [] },
    ...fields,
  };
  session.plug(ready, (frame) => sent.push(frame));
  return sent;
}

function say(message: Json) {
  return session.take(JSON.stringify(message));
}

function read(frames: readonly Frame[]): Json[] {
  return frames.map((frame) =>
    typeof frame === "string" ? (JSON.parse(frame) as Json) : { bytes: [...new Uint8Array(frame)] },
  );
}

function outcomes(): [number, string][] {
  return events.flatMap(([key, event]) => (event.type === "done" ? [[key, event.outcome] as [number, string]] : []));
}

describe("the count of frames", () => {
  it("begins with the first ready, and has all that comes", () => {
    plug();
    say({ type: "pong" });
    say({ type: "something new" });
    session.take(new ArrayBuffer(2));
    session.take("no JSON");
    expect(session.received).toBe(5);
    expect(read([session.hello(START)])).toEqual([{ type: "start", protocol: 1, session: "one", received: 5 }]);
  });

  it("goes on with a session, and begins anew with another", () => {
    plug();
    say({ type: "pong" });
    plug({ resumed: true });
    expect(session.received).toBe(3);
    plug({ session: "two" });
    expect(session.received).toBe(1);
  });

  it("asks for a new session after the end of one", () => {
    plug();
    session.forget();
    const start = { ...START, voice: "joe" };
    expect(read([session.hello(start)])).toEqual([{ type: "start", protocol: 1, ...start }]);
  });
});

describe("a resumed session", () => {
  it("gets the audio that it lacks, down to the byte, and the end of it", () => {
    plug();
    session.begin(LISTEN);
    session.audio(counting(0, 10));
    session.unplug();
    session.audio(counting(10, 10));
    session.endAudio();
    const sent = plug({ resumed: true, turn: 1, audio_received: 7 });
    expect(read(sent)).toEqual([
      { bytes: [7, 8, 9] },
      { bytes: [10, 11, 12, 13, 14, 15, 16, 17, 18, 19] },
      { type: "end_audio" },
    ]);
  });

  it("gets a turn that was lost on the way, with all its audio", () => {
    const first = plug();
    const key = session.begin(LISTEN);
    session.audio(counting(0, 4));
    expect(read(first)).toEqual([LISTEN, { bytes: [0, 1, 2, 3] }]);
    expect(read(plug({ resumed: true, turn: 0 }))).toEqual([LISTEN, { bytes: [0, 1, 2, 3] }]);
    say({ type: "voice_started", turn: 1 });
    expect(events).toEqual([[key, { type: "voice_started", turn: 1 }]]);
  });

  it("does not ask again what it knows, nor what was replaced", () => {
    plug();
    const first = session.begin({ type: "text", text: "one" });
    session.unplug();
    const second = session.begin({ type: "text", text: "two" });
    const third = session.begin({ type: "text", text: "three" });
    expect(outcomes()).toEqual([[second, "cancelled"]]);
    expect(read(plug({ resumed: true, turn: 1 }))).toEqual([{ type: "text", text: "three" }]);
    say({ type: "done", turn: 1, outcome: "cancelled" });
    say({ type: "done", turn: 2, outcome: "completed" });
    expect(outcomes().slice(1)).toEqual([
      [first, "cancelled"],
      [third, "completed"],
    ]);
  });

  it("gets no audio of a turn that was replaced", () => {
    plug();
    session.begin(LISTEN);
    for (let second = 0; second < 30; second += 1) {
      session.audio(new ArrayBuffer(32_000));
    }
    session.unplug();
    session.begin({ type: "text", text: "two" });
    expect(read(plug({ resumed: true, turn: 1, audio_received: 100 }))).toEqual([{ type: "text", text: "two" }]);
  });

  it("is told again of a cancel that may be lost", () => {
    plug();
    session.begin({ type: "text", text: "one" });
    session.cancel();
    expect(read(plug({ resumed: true, turn: 1 }))).toEqual([{ type: "cancel" }]);
  });

  it("is told how much was heard meanwhile", () => {
    plug();
    const key = session.begin({ type: "text", text: "one" });
    say({ type: "done", turn: 1, outcome: "completed" });
    session.unplug();
    session.played(key, 1.5);
    expect(read(plug({ resumed: true, turn: 1 }))).toEqual([{ type: "played", turn: 1, seconds: 1.5 }]);
  });

  it("loses a turn whose audio is kept no longer", () => {
    plug();
    const key = session.begin(LISTEN);
    for (let second = 0; second < 30; second += 1) {
      session.audio(new ArrayBuffer(32_000));
    }
    expect(read(plug({ resumed: true, turn: 1, audio_received: 100 }))).toEqual([{ type: "cancel" }]);
    expect(outcomes()).toEqual([[key, "failed"]]);
  });

  it("sends only the newest of what waits for a wake word", () => {
    plug();
    session.begin(WAIT);
    for (let second = 0; second < 30; second += 1) {
      session.audio(new ArrayBuffer(32_000));
    }
    expect(plug({ resumed: true, turn: 1, audio_received: 100 })).toHaveLength(10);
    expect(outcomes()).toEqual([]);
    session.audio(counting(0, 4));
    expect(read(plug({ resumed: true, turn: 1, audio_received: 100 + 320_000 }))).toEqual([{ bytes: [0, 1, 2, 3] }]);
  });
});

describe("another session", () => {
  it("is not told what was heard in the one before", () => {
    plug();
    const key = session.begin({ type: "text", text: "one" });
    say({ type: "done", turn: 1, outcome: "completed" });
    session.unplug();
    session.played(key);
    expect(plug({ session: "two" })).toEqual([]);
  });

  it("loses what was sent in the one before, and gets what was not", () => {
    plug();
    const sent = session.begin({ type: "text", text: "one" });
    say({ type: "handled_start", turn: 1, conversation_id: "c" });
    session.unplug();
    session.begin({ type: "text", text: "two" });
    expect(read(plug({ session: "two" }))).toEqual([{ type: "text", text: "two" }]);
    expect(outcomes()).toEqual([[sent, "cancelled"]]);
  });

  it("is not told of an answer that ends with the one before", () => {
    session = createSession({
      event: (key, event) => {
        if (event.type === "done") {
          session.played(key);
        }
      },
      sound: () => undefined,
      call: () => undefined,
    });
    plug();
    session.begin({ type: "text", text: "one" });
    session.unplug();
    expect(plug({ session: "two" })).toEqual([]);
  });

  it("gets no question that has waited for too long", () => {
    const key = session.begin({ type: "text", text: "Open the door" });
    vi.advanceTimersByTime(RESUME_MS + 1);
    expect(plug()).toEqual([]);
    expect(events).toMatchObject([
      [key, { type: "error", code: "connection-lost" }],
      [key, { outcome: "failed" }],
    ]);
    expect(read(plug({ session: "two" }))).toEqual([]);
  });

  it("of another person gets no question at all", () => {
    const key = session.begin({ type: "text", text: "Open the door" });
    session.abandon();
    expect(outcomes()).toEqual([[key, "failed"]]);
    expect(plug()).toEqual([]);
  });

  it("says so where a question is lost", () => {
    plug();
    const key = session.begin({ type: "text", text: "one" });
    plug({ session: "two" });
    expect(events.map(([, event]) => event.type)).toEqual(["error", "done"]);
    expect(outcomes()).toEqual([[key, "failed"]]);
  });
});

describe("a turn that waits for its wake word", () => {
  it("lets the one before it go on", () => {
    plug();
    const answer = session.begin({ type: "text", text: "one" });
    const wait = session.begin(WAIT);
    say({ type: "audio_start", turn: 1, rate: 22_050, width: 2, channels: 1 });
    say({ type: "listening", turn: 2 });
    session.take(new ArrayBuffer(8));
    expect(sounds).toEqual([[answer, 8]]);
    say({ type: "detection", turn: 2, name: "alexa", timestamp: 5 });
    say({ type: "done", turn: 1, outcome: "cancelled" });
    expect(events.map(([key, event]) => [key, event.type])).toEqual([
      [answer, "audio_start"],
      [wait, "listening"],
      [wait, "detection"],
      [answer, "done"],
    ]);
  });

  it("is a turn as any other once that was heard", () => {
    plug();
    session.begin(WAIT);
    say({ type: "detection", turn: 1, name: "alexa", timestamp: 5 });
    for (let second = 0; second < 15; second += 1) {
      session.audio(new ArrayBuffer(32_000));
    }
    expect(plug({ resumed: true, turn: 1, audio_received: 0 })).toHaveLength(15);
  });

  it("is sent again with it", () => {
    plug();
    session.begin({ type: "text", text: "one" });
    session.begin(WAIT);
    session.audio(counting(0, 4));
    expect(read(plug({ resumed: true, turn: 0 }))).toEqual([
      { type: "text", text: "one" },
      WAIT,
      { bytes: [0, 1, 2, 3] },
    ]);
    expect(read(plug({ resumed: true, turn: 1 }))).toEqual([WAIT, { bytes: [0, 1, 2, 3] }]);
  });

  it("gives way to a newer one alone", () => {
    plug();
    const answer = session.begin({ type: "text", text: "one" });
    const first = session.begin(WAIT);
    session.unplug();
    session.begin(WAIT);
    expect(read(plug({ resumed: true, turn: 1 }))).toEqual([WAIT]);
    expect(outcomes()).toEqual([[first, "cancelled"]]);
    say({ type: "done", turn: 1, outcome: "completed" });
    expect(outcomes().at(-1)).toEqual([answer, "completed"]);
  });
});

it("takes back the number of a turn that was refused", () => {
  plug();
  const refused = session.begin({ type: "text", text: "too long" });
  const next = session.begin(WAIT);
  expect(say({ type: "error", code: "text-too-long", text: "Too long" })).toMatchObject({ code: "text-too-long" });
  expect(outcomes()).toEqual([[refused, "failed"]]);
  say({ type: "listening", turn: 1 });
  expect(events.at(-1)?.[0]).toBe(next);
});

it("sends no audio behind the end of it, and none of an unknown turn's sound on", () => {
  const sent = plug();
  session.begin({ ...LISTEN, mode: "push_to_talk" });
  session.endAudio();
  session.endAudio();
  session.audio(counting(0, 4));
  session.take(new ArrayBuffer(8));
  say({ type: "audio_start", turn: 7, rate: 22_050, width: 2, channels: 1 });
  session.take(new ArrayBuffer(8));
  expect(read(sent).map((frame) => frame["type"])).toEqual(["listen", "end_audio"]);
  expect(sounds).toEqual([]);
});

it("gives up speech that nobody took for half a minute", () => {
  const key = session.begin(LISTEN);
  for (let second = 0; second < 30; second += 1) {
    session.audio(new ArrayBuffer(32_000));
  }
  expect(outcomes()).toEqual([[key, "failed"]]);
});

describe("a call of the server", () => {
  it("is told on, beside the turns", () => {
    plug();
    const call = { id: "a", text: "Tea!", language: "en", chime: true, rings: true };
    say({ type: "notice", ...call });
    say({ type: "notice_end", id: "a" });
    expect(calls).toEqual([
      { type: "notice", ...call },
      { type: "notice_end", id: "a" },
    ]);
    expect(session.received).toBe(3);
  });

  it("is answered when the connection is back, but not in another session", () => {
    const first = plug();
    session.noticed("a", "heard");
    expect(read(first)).toEqual([{ type: "noticed", id: "a", outcome: "heard" }]);
    session.unplug();
    session.noticed("b", "stopped");
    expect(read(plug({ resumed: true }))).toEqual([{ type: "noticed", id: "b", outcome: "stopped" }]);
    session.unplug();
    session.noticed("c", "heard");
    expect(plug({ session: "two" })).toEqual([]);
  });
});
