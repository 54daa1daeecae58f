/**
 * The server's side of `WS /api/v1/voice/stream`, as server/voice_session.py and server/voice_outbox.py have it, without
 * anything behind it: a test says what the turns do. Takes the place of WebSocket and fetch.
 */

import { vi } from "vitest";

export type Json = Record<string, unknown>;

type Data = string | ArrayBuffer;

/** What the page uses of a WebSocket. */
class FakeLine {
  binaryType = "";
  bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((message: { data: Data }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  session: FakeSession | null = null;
  /** It is given what was kept for it. */
  sends = false;
  /** The code with which the page has closed it; null while it has not. */
  closedWith: number | undefined | null = null;

  constructor(
    readonly server: FakeServer,
    readonly address: string,
  ) {}

  send(data: Data) {
    this.server.take(this, data);
  }

  close(code?: number) {
    this.closedWith = code;
    this.server.left(this, code);
  }
}

/** One session: its outbox, and what has come. */
class FakeSession {
  /** Frames that the page has not acknowledged, from the number `before` on. */
  kept: Data[] = [];
  before = 0;
  turn = 0;
  /** Of the newest turn, in bytes. */
  audio: number[] = [];
  acknowledged = 0;

  constructor(
    readonly id: string,
    readonly start: Json,
  ) {}
}

export class FakeServer {
  /** Where it answers at all; requests fail otherwise, and connections are not opened. */
  up = true;
  loading = false;
  /** Whether the WebSocket is let through. */
  passes = true;
  /** The right token; null asks for none. */
  token: string | null = null;
  shown: string | null = null;
  /** Seconds of sound that a text is spoken in; null where it cannot be. */
  speech: number | null = 1;
  /** What was asked to be spoken, apart from the answers. */
  spoken: Json[] = [];
  lines: FakeLine[] = [];
  sessions = new Map<string, FakeSession>();
  /** All messages of the page, over all connections; audio is {"type": "audio", "bytes": n}. */
  heard: Json[] = [];

  install(): this {
    const open = (address: URL | string) => this.dial(String(address));
    vi.stubGlobal(
      "WebSocket",
      vi.fn(function (address: URL | string) {
        return open(address);
      }),
    );
    vi.stubGlobal("fetch", (url: URL | string, init: RequestInit = {}) => this.answer(new URL(url), init));
    return this;
  }

  /** The connection that is open now. */
  get line(): FakeLine {
    const line = this.lines.at(-1);
    if (!line) {
      throw new Error("no connection is open");
    }
    return line;
  }

  get session(): FakeSession {
    const session = [...this.sessions.values()].at(-1);
    if (!session) {
      throw new Error("there is no session");
    }
    return session;
  }

  /** Types of the messages of the page, but `ack` and `ping`. */
  types(): string[] {
    return this.heard.map((message) => String(message["type"])).filter((type) => type !== "ack" && type !== "ping");
  }

  of(type: string): Json[] {
    return this.heard.filter((message) => message["type"] === type);
  }

  /** A frame of the session, over the connection or when there is one. */
  say(...messages: (Json | ArrayBuffer)[]) {
    for (const message of messages) {
      const data = message instanceof ArrayBuffer ? message : JSON.stringify(message);
      this.session.kept.push(data);
      this.lines.find((line) => line.session === this.session && !line.sends)?.onmessage?.({ data });
    }
  }

  /** Events of the turn with this number. */
  turn(number: number, ...events: Json[]) {
    this.say(...events.map((event) => ({ ...event, turn: number })));
  }

  /** The connection is gone, from the page's side without a farewell unless there is a code. */
  cut(code = 1006, reason = "") {
    const line = this.line;
    this.lines = this.lines.filter((other) => other !== line);
    if (line.session && [1012, 4400, 4401, 4406, 4413].includes(code)) {
      this.sessions.delete(line.session.id);
    }
    line.onclose?.({ code, reason });
  }

  left(line: FakeLine, code?: number) {
    this.lines = this.lines.filter((other) => other !== line);
    if (code === 1000 && line.session) {
      this.sessions.delete(line.session.id);
    }
  }

  take(line: FakeLine, data: Data) {
    if (!this.lines.includes(line)) {
      return;
    }
    if (typeof data !== "string") {
      this.heard.push({ type: "audio", bytes: data.byteLength });
      line.session?.audio.push(...new Uint8Array(data));
      return;
    }
    const message = JSON.parse(data) as Json;
    this.heard.push(message);
    if (message["type"] === "start") {
      this.greet(line, message);
      return;
    }
    const session = line.session;
    if (!session) {
      throw new Error("the first frame was not 'start'");
    }
    if (message["type"] === "ack") {
      this.forget(session, Number(message["received"]));
    } else if (message["type"] === "listen" || message["type"] === "text") {
      session.turn += 1;
      session.audio = [];
      if (message["type"] === "listen") {
        this.turn(session.turn, { type: "listening" });
      }
    } else if (message["type"] === "ping") {
      this.say({ type: "pong" });
    }
  }

  private dial(address: string): FakeLine {
    const line = new FakeLine(this, address);
    queueMicrotask(() => {
      if (this.up && this.passes && !this.loading && this.lets()) {
        this.lines.push(line);
        line.onopen?.();
      } else {
        line.onclose?.({ code: 1006, reason: "" });
      }
    });
    return line;
  }

  private lets(): boolean {
    return this.token === null || this.shown === this.token;
  }

  private greet(line: FakeLine, start: Json) {
    const before = this.sessions.get(String(start["session"]));
    const received = Number(start["received"]);
    const kept = before && before.before <= received && received <= before.before + before.kept.length;
    const session = kept ? before : new FakeSession(`session-${this.sessions.size}-${this.heard.length}`, start);
    if (kept) {
      this.forget(session, received);
    } else {
      this.sessions.delete(String(start["session"]));
    }
    this.sessions.set(session.id, session);
    line.session = session;
    const ready = {
      ...{ type: "ready", protocol: 1, session: session.id, resumed: Boolean(kept), turn: session.turn },
      ...{ audio_received: session.audio.length, voices: [{ name: "joe", languages: ["en"] }] },
      wake_words: ["hey_jarvis", "alexa"],
    };
    session.kept.unshift(JSON.stringify(ready));
    line.sends = true;
    for (const data of session.kept) {
      line.onmessage?.({ data }); // what is said meanwhile is behind it in the queue
    }
    line.sends = false;
  }

  /** The page has so many frames. */
  private forget(session: FakeSession, received: number) {
    const count = received - session.before;
    if (count > session.kept.length) {
      throw new Error(`The page counts ${received} frames, but ${session.before + session.kept.length} were sent`);
    }
    session.kept.splice(0, Math.max(0, count));
    session.before = Math.max(session.before, received);
    session.acknowledged = received;
  }

  private answer(url: URL, init: RequestInit): Promise<Response> {
    if (!this.up) {
      return Promise.reject(new TypeError("Failed to fetch"));
    }
    if (url.pathname.endsWith("/ready")) {
      return Promise.resolve(new Response("{}", { status: this.loading ? 503 : 200 }));
    }
    if (url.pathname.endsWith("/voice/synthesize")) {
      this.spoken.push(JSON.parse(init.body as string) as Json);
      return Promise.resolve(
        this.speech === null ? new Response("{}", { status: 503 }) : new Response(wav(this.speech)),
      );
    }
    if (init.method === "DELETE") {
      this.shown = null;
      return Promise.resolve(new Response(null, { status: 204 }));
    }
    if (init.method === "POST") {
      this.shown = (JSON.parse(init.body as string) as { token: string }).token;
    }
    const body = { asks: this.token !== null, role: "admin", token: "first", user: "", tenant: "" };
    const answer = this.lets() ? new Response(JSON.stringify(body)) : new Response("{}", { status: 401 });
    return Promise.resolve(answer);
  }
}

/** So many bytes that count up, to see whether any are missing. */
export function counting(from: number, count: number): ArrayBuffer {
  return Uint8Array.from({ length: count }, (_, index) => (from + index) % 251).buffer;
}

/** A file of so many seconds of silence, as the server makes it while it speaks: of unknown length. */
export function wav(seconds: number, rate = 16_000): ArrayBuffer {
  const file = new DataView(new ArrayBuffer(44 + seconds * rate * 2));
  const write = (at: number, name: string) => {
    new Uint8Array(file.buffer).set(new TextEncoder().encode(name), at);
  };
  write(0, "RIFF");
  file.setUint32(4, 0xffffffff, true);
  write(8, "WAVEfmt ");
  file.setUint32(16, 16, true);
  file.setUint16(20, 1, true);
  file.setUint16(22, 1, true);
  file.setUint32(24, rate, true);
  file.setUint32(28, rate * 2, true);
  file.setUint16(32, 2, true);
  file.setUint16(34, 16, true);
  write(36, "data");
  file.setUint32(40, 0xffffffff, true);
  return file.buffer;
}
