// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { createConnection, type ServerConnection } from "./connection";
import type { TurnEvent } from "./protocol";
import { counting, FakeServer } from "./testing/fake-server";
import type { Access, Connection } from "./types";

const START = { language: "de", voice: "", conversation_id: "c1", name: "browser-00000000", calls: true };
const LISTEN = { type: "listen", mode: "hands_free", wake_words: [] } as const;

let server: FakeServer;
let states: Connection[];
let access: Access | null;
let events: TurnEvent[];
let unusable: string[];
let sound: number[];
let connection: ServerConnection;

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer().install();
  states = [];
  events = [];
  unusable = [];
  sound = [];
  access = null;
  connection = createConnection(new URL("https://house.example/api/hassio_ingress/xyz/"), () => START, {
    state: (state) => states.push(state),
    access: (found) => (access = found),
    ready: () => undefined,
    unusable: (what) => unusable.push(what),
    event: (_, event) => events.push(event),
    sound: (_, pcm) => sound.push(...new Uint8Array(pcm)),
    call: () => undefined,
  });
  return () => {
    connection.close();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

async function pass(ms = 0) {
  await vi.advanceTimersByTimeAsync(ms);
}

async function connect() {
  connection.open();
  await pass();
  expect(states.at(-1)).toEqual({ state: "connected" });
}

function state(): Connection | undefined {
  return states.at(-1);
}

it("connects below the page's folder, and says how it wants to talk", async () => {
  await connect();
  expect(server.line.address).toBe("wss://house.example/api/hassio_ingress/xyz/api/v1/voice/stream");
  expect(server.heard).toEqual([{ type: "start", protocol: 1, ...START }]);
  expect(access).toEqual({ asks: false, role: "admin", token: "first", user: "" });
  expect(states.map(({ state }) => state)).toEqual(["connecting", "connected"]);
});

describe("a lost connection", () => {
  it("comes again without a frame lost or repeated", async () => {
    await connect();
    connection.session.begin(LISTEN);
    for (let frame = 0; frame < 50; frame += 1) {
      connection.session.audio(counting(frame * 20, 20));
    }
    server.turn(1, { type: "voice_started" }, { type: "audio_start", rate: 16_000, width: 2, channels: 1 });
    server.say(counting(0, 100));
    server.session.audio.splice(-30); // on their way when the line was cut
    server.cut();
    connection.session.audio(counting(1000, 20));
    server.say(counting(100, 100));
    server.turn(1, { type: "voice_stopped" });
    expect(state()).toMatchObject({ state: "reconnecting", attempt: 1 });
    await pass(600);
    expect(state()).toEqual({ state: "connected" });
    expect(server.session.audio).toEqual([...new Uint8Array(counting(0, 1020))]);
    expect(sound).toEqual([...new Uint8Array(counting(0, 200))]);
    expect(events.map(({ type }) => type)).toEqual(["listening", "voice_started", "audio_start", "voice_stopped"]);
    expect(server.sessions.size).toBe(1);
  });

  it("comes again and again, more slowly each time, but not for ever more slowly", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    await connect();
    server.up = false;
    server.cut();
    const waits: number[] = [];
    for (let attempt = 1; attempt <= 8; attempt += 1) {
      const now = state();
      expect(now).toMatchObject({ state: "reconnecting", attempt });
      const wait = now?.state === "reconnecting" ? now.retryAt - Date.now() : 0;
      waits.push(wait);
      await pass(wait);
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
    server.up = true;
    await pass(10_000);
    expect(state()).toEqual({ state: "connected" });
    await pass(6000);
    server.cut();
    expect(state()).toMatchObject({ attempt: 1 });
  });

  it("does not bring all pages back at the same moment", async () => {
    await connect();
    vi.spyOn(Math, "random").mockReturnValue(0);
    server.cut();
    const now = state();
    expect(now?.state === "reconnecting" && now.retryAt - Date.now()).toBe(250);
  });

  it("is looked for at once when the network or the person is back", async () => {
    await connect();
    server.up = false;
    server.cut();
    await pass(20_000);
    server.up = true;
    window.dispatchEvent(new Event("online"));
    await pass();
    expect(state()).toEqual({ state: "connected" });
  });

  it("is noticed by silence", async () => {
    await connect();
    const line = server.line;
    await pass(25_000);
    expect(server.of("ping")).toHaveLength(1);
    expect(line.closedWith).toBeNull();
    server.lines = []; // nothing arrives any more, and nobody says so
    await pass(32_000);
    expect(line.closedWith).toBeUndefined(); // closed without a code: the session waits
    expect(server.of("start").at(-1)).toMatchObject({ session: server.session.id });
    expect(state()).toEqual({ state: "connected" });
  });

  it("is noticed soon after a sleep", async () => {
    await connect();
    const line = server.line;
    server.lines = [];
    document.dispatchEvent(new Event("visibilitychange"));
    await pass(5000);
    expect(line.closedWith).toBeUndefined();
    expect(state()).toEqual({ state: "connected" });
  });

  it("gives up what nobody can answer any more", async () => {
    await connect();
    connection.session.begin({ type: "text", text: "one" });
    server.up = false;
    server.cut();
    await pass(29_000);
    expect(events).toEqual([]);
    await pass(2000);
    expect(events).toMatchObject([
      { type: "error", code: "connection-lost" },
      { type: "done", outcome: "failed" },
    ]);
    server.up = true;
    await pass(10_000);
    expect(server.of("text")).toHaveLength(1);
  });

  it("is dropped where the network takes nothing", async () => {
    await connect();
    connection.session.begin(LISTEN);
    server.line.bufferedAmount = 2 * 1024 * 1024;
    const line = server.line;
    connection.session.audio(counting(0, 20));
    expect(line.closedWith).toBeUndefined();
    await pass(1000);
    expect(server.session.audio).toEqual([...new Uint8Array(counting(0, 20))]);
  });
});

it("acknowledges what has come, once a second, and sooner where it is much", async () => {
  await connect();
  connection.session.begin({ type: "text", text: "one" });
  await pass(3000);
  expect(server.of("ack")).toEqual([{ type: "ack", received: 1 }]);
  server.turn(1, { type: "handled_chunk", text: "It is" }, { type: "handled_chunk", text: " ten." });
  await pass(1000);
  expect(server.session.acknowledged).toBe(3);
  server.say(new ArrayBuffer(300 * 1024));
  expect(server.session.acknowledged).toBe(4);
});

describe("a server that is not ready", () => {
  it("loads", async () => {
    server.loading = true;
    connection.open();
    await pass();
    expect(state()).toEqual({ state: "loading" });
    await pass(5000);
    expect(state()).toEqual({ state: "loading" });
    server.loading = false;
    await pass(1500);
    expect(state()).toEqual({ state: "connected" });
  });

  it("is not there yet", async () => {
    server.up = false;
    connection.open();
    await pass();
    expect(state()).toMatchObject({ state: "reconnecting", attempt: 1 });
    server.up = true;
    await pass(1000);
    expect(state()).toEqual({ state: "connected" });
  });

  it("is behind a proxy that passes no WebSockets on", async () => {
    server.passes = false;
    connection.open();
    await pass(60_000);
    expect(state()).toMatchObject({ state: "refused", text: expect.stringContaining("WebSockets") as string });
    server.passes = true;
    connection.retry();
    await pass();
    expect(state()).toEqual({ state: "connected" });
  });
});

describe("a token", () => {
  beforeEach(() => {
    server.token = "secret";
  });

  it("is asked for, and may be wrong", async () => {
    connection.open();
    await pass();
    expect(state()).toEqual({ state: "signed-out", why: "none" });
    connection.signIn("guess");
    await pass();
    expect(state()).toEqual({ state: "signed-out", why: "wrong" });
    connection.signIn("secret");
    await pass();
    expect(state()).toEqual({ state: "connected" });
    expect(access?.asks).toBe(true);
  });

  it("is shown at the start, also where the server comes later", async () => {
    server.up = false;
    connection.signIn("secret");
    connection.open();
    await pass();
    server.up = true;
    await pass(1000);
    expect(state()).toEqual({ state: "connected" });
  });

  it("may be revoked", async () => {
    connection.signIn("secret");
    await connect();
    server.shown = null;
    server.cut(4401);
    await pass();
    expect(state()).toEqual({ state: "signed-out", why: "revoked" });
    expect(access).toBeNull();
    await pass(60_000);
    expect(server.of("start")).toHaveLength(1);
  });

  it("may be revoked while there is no connection: what was asked is lost", async () => {
    connection.signIn("secret");
    await connect();
    connection.session.begin({ type: "text", text: "one" });
    server.shown = null;
    server.cut();
    await pass(1000);
    expect(state()).toEqual({ state: "signed-out", why: "revoked" });
    expect(events).toMatchObject([{ type: "error", code: "connection-lost" }, { type: "done" }]);
  });

  it("may have got another role", async () => {
    connection.signIn("secret");
    await connect();
    server.cut(4401);
    await pass(1000);
    expect(state()).toEqual({ state: "connected" });
  });

  it("is not forgotten by the server before that is there: it is told first", async () => {
    connection.signIn("secret");
    await connect();
    server.up = false;
    server.cut();
    connection.signOut();
    await pass(5000);
    expect(state()).toEqual({ state: "signed-out", why: "none" });
    expect(access).toBeNull();
    server.up = true;
    await pass(10_000);
    expect(server.shown).toBeNull();
    expect(state()).toEqual({ state: "signed-out", why: "none" });
    expect(server.of("start")).toHaveLength(1);
    connection.signIn("secret");
    await connect();
  });

  it("may be shown again before the server is there", async () => {
    connection.signIn("secret");
    await connect();
    server.up = false;
    server.cut();
    connection.signOut();
    await pass();
    connection.signIn("secret");
    await pass(1000);
    expect(state()).toMatchObject({ state: "reconnecting" });
    server.up = true;
    await pass(10_000);
    expect(state()).toEqual({ state: "connected" });
  });

  it("takes what was asked by another with it", async () => {
    connection.open();
    connection.session.begin({ type: "text", text: "one" });
    await pass();
    expect(state()).toEqual({ state: "signed-out", why: "none" });
    connection.session.begin({ type: "text", text: "two" });
    connection.signIn("secret");
    await connect();
    expect(server.of("text")).toEqual([]);
    expect(events.map(({ type }) => type)).toEqual(["error", "done", "error", "done"]);
  });

  it("is forgotten", async () => {
    connection.signIn("secret");
    await connect();
    connection.signOut();
    await pass();
    expect(state()).toEqual({ state: "signed-out", why: "none" });
    expect(server.shown).toBeNull();
    expect(server.sessions.size).toBe(0);
  });
});

describe("the server closes", () => {
  it.each([
    [1012, "", false],
    [4400, "bad-frame", false],
    [4408, "idle", true],
    [4409, "taken over", true],
    [1011, "internal", true],
    [1001, "", true],
  ])("with %i '%s'", async (code, reason, resumes) => {
    await connect();
    server.cut(code, reason);
    expect(state()).toMatchObject({ state: "reconnecting" });
    await pass(1000);
    expect(state()).toEqual({ state: "connected" });
    expect("session" in (server.of("start").at(-1) ?? {})).toBe(resumes);
  });

  it("because it speaks another version", async () => {
    await connect();
    server.cut(4406);
    expect(state()).toMatchObject({ state: "refused", text: expect.stringContaining("Load the page again") as string });
    await pass(60_000);
    expect(server.of("start")).toHaveLength(1);
  });

  it("because too many are connected", async () => {
    await connect();
    server.cut(4429, "too-many");
    expect(state()).toMatchObject({ state: "refused", text: expect.stringContaining("Close some") as string });
  });

  it("because there were too many turns: it comes again, but not soon", async () => {
    await connect();
    server.cut(4429, "too-many-turns");
    await pass(9_000);
    expect(state()).toMatchObject({ state: "reconnecting" });
    await pass(1_500);
    expect(state()).toEqual({ state: "connected" });
  });

  it("because it has not the voice any more", async () => {
    await connect();
    server.line.onmessage?.({
      data: JSON.stringify({ type: "error", code: "unknown-voice", text: "There is none", fatal: true }),
    });
    server.cut(4400, "unknown-voice");
    expect(unusable).toEqual(["voice"]);
    await pass(1000);
    expect(state()).toEqual({ state: "connected" });
  });
});

it("begins another session where the start is another one", async () => {
  await connect();
  const line = server.line;
  connection.renew();
  await pass();
  expect(line.closedWith).toBe(1000);
  expect(server.of("start")).toEqual(Array(2).fill({ type: "start", protocol: 1, ...START }));
  expect(state()).toEqual({ state: "connected" });
});

it("does not connect any more once it is closed", async () => {
  connection.open();
  connection.close();
  await pass(60_000);
  expect(server.heard).toEqual([]);
});

it("begins another session also where it has no connection", async () => {
  await connect();
  server.cut();
  connection.renew();
  await pass(1000);
  expect(server.of("start").at(-1)).toEqual({ type: "start", protocol: 1, ...START });
});

it("leaves nothing behind, and can be opened again", async () => {
  await connect();
  const line = server.line;
  connection.close();
  expect(line.closedWith).toBe(1000);
  expect(vi.getTimerCount()).toBe(0);
  window.dispatchEvent(new Event("online"));
  await pass(60_000);
  expect(server.of("start")).toHaveLength(1);
  connection.open();
  await pass();
  expect(state()).toEqual({ state: "connected" });
});
