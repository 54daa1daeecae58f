/** The way to the server: signs in, connects, connects again, and says in people's words why it does not. */

import { createAccessApi, type SignedIn } from "./access";
import { parse, type ClientMessage, type Ready } from "./protocol";
import { createSession, RESUME_MS, type Frame, type Session, type SessionEvents, type Start } from "./session";
import type { Access, Connection } from "./types";

/** The first wait before another attempt; each further one is twice as long. */
const FIRST_WAIT_MS = 500;

/** The longest wait: a server that was started again is found within this. */
const LONGEST_WAIT_MS = 10_000;

/** Engines need some ten seconds to load; whoever waits sees it soon after. */
const LOADING_WAIT_MS = 1_500;

/** For the upgrade and the first frame. */
const READY_MS = 10_000;

/** A connection that held so long was a good one: the next wait is short again. */
const STABLE_MS = 5_000;

/** How often it is looked whether something is to be acknowledged, or the server is silent. */
const TICK_MS = 1_000;

/** Acknowledged also between the ticks, which a hidden page has seldom: the server keeps 2 MiB. */
const ACK_BYTES = 256 * 1024;

/** After so much silence of the server it is asked whether it is there. */
const SILENCE_MS = 20_000;

/** For the answer to that. */
const PONG_MS = 10_000;

/** The same when the page comes back from sleep, and a person looks at it. */
const WAKE_PONG_MS = 3_000;

/** Audio that the browser could not send: 28 s are sent again at once after a resume, and some is spoken meanwhile. */
const MOST_BUFFERED_BYTES = 1024 * 1024 + 256 * 1024;

/** Connections in a row that failed although the server answers requests and is ready. */
const MOST_FAILURES = 5;

const RESTART = 1012;
const BAD_FRAME = 4400;
const NO_ACCESS = 4401;
const BAD_VERSION = 4406;
const TOO_LARGE = 4413;
const TOO_MANY = 4429;
const SESSION_OVER: readonly number[] = [1000, RESTART, BAD_FRAME, NO_ACCESS, BAD_VERSION, TOO_LARGE];

export interface ConnectionEvents extends SessionEvents {
  state(connection: Connection): void;
  access(access: Access | null): void;
  ready(ready: Ready): void;
  /** A language or voice of `start` is not there any more. */
  unusable(what: "language" | "voice"): void;
}

/** What is said over the connection is in `session`; it can be used at any time. */
export interface ServerConnection {
  readonly session: Pick<Session, "begin" | "audio" | "endAudio" | "cancel" | "played" | "noticed">;
  open(): void;
  close(): void;
  /** Connect again now. */
  retry(): void;
  /** End the session, and begin another as `start` says by now. */
  renew(): void;
  signIn(token: string): void;
  signOut(): void;
}

/** `base` is the address of the page's folder; `start` says how a session is to be begun. */
export function createConnection(base: URL, start: () => Start, events: ConnectionEvents): ServerConnection {
  const api = createAccessApi(base);
  const session = createSession(events);
  const address = new URL("api/v1/voice/stream", base);
  address.protocol = base.protocol === "https:" ? "wss:" : "ws:";

  let isOpen = false;
  let effort = 0; // number of the present attempt; what belongs to another is over
  let socket: WebSocket | null = null;
  let greetedAt: number | null = null;
  let refusal: { code: string; text: string } | null = null;
  let attempt = 0;
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ticker: ReturnType<typeof setInterval> | undefined;
  let expiry: ReturnType<typeof setTimeout> | undefined;
  let access: Access | null = null;
  let token: string | null = null; // shown with the next attempt
  let leaving = false; // signed out, but the server does not know it yet
  let heardAt = 0;
  let pongBy: number | null = null;
  let acknowledged = 0;
  let unacknowledgedBytes = 0;

  async function connect() {
    hangUp();
    effort += 1;
    const mine = effort;
    if (leaving) {
      const left = await api.signOut();
      if (mine !== effort) {
        return;
      }
      leaving = !left;
      if (!left && token === null) {
        events.state({ state: "signed-out", why: "none" });
        again(nextWait());
      } else if (!left) {
        later();
      }
      if (!left) {
        return;
      }
    }
    if (!access || token !== null) {
      const found = await (token === null ? api.look() : api.signIn(token));
      if (mine !== effort || !mayEnter(found)) {
        return;
      }
    }
    dial();
  }

  /** Whether we are let in; else it is known what comes next. */
  function mayEnter(found: SignedIn): boolean {
    switch (found.result) {
      case "in":
        token = null;
        access = found.access;
        events.access(access);
        return true;
      case "out": {
        const why = token !== null ? "wrong" : access ? "revoked" : "none";
        token = access = null;
        session.abandon();
        events.access(null);
        events.state({ state: "signed-out", why });
        return false;
      }
      case "wait": {
        token = null;
        const text = `Too many wrong tokens were shown. Wait ${found.seconds} seconds, and try again.`;
        events.state({ state: "refused", text });
        return false;
      }
      case "gone":
        later();
        return false;
    }
  }

  function dial() {
    const line = new WebSocket(address);
    socket = line;
    refusal = null;
    line.binaryType = "arraybuffer";
    line.onopen = () => {
      line.send(session.hello(start()));
    };
    line.onmessage = (message: MessageEvent<Frame>) => {
      take(line, message.data);
    };
    line.onclose = (event) => {
      socket = null;
      closed(event.code, event.reason);
    };
    timer = setTimeout(drop, READY_MS);
  }

  function take(line: WebSocket, frame: Frame) {
    heardAt = Date.now();
    pongBy = null;
    if (greetedAt !== null) {
      unacknowledgedBytes += typeof frame === "string" ? frame.length : frame.byteLength;
      refusal = session.take(frame) ?? refusal;
      if (unacknowledgedBytes > ACK_BYTES) {
        acknowledge();
      }
      return;
    }
    const message = typeof frame === "string" ? parse(frame) : null;
    if (message?.type === "refusal") {
      refusal = message;
    } else if (message?.type === "ready") {
      clearTimeout(timer);
      clearTimeout(expiry);
      greetedAt = heardAt;
      failures = acknowledged = unacknowledgedBytes = 0;
      ticker = setInterval(tick, TICK_MS);
      events.state({ state: "connected" });
      session.plug(message, (data) => {
        send(line, data);
      });
      events.ready(message);
    }
  }

  function send(line: WebSocket, data: Frame) {
    if (line !== socket) {
      return;
    }
    if (line.bufferedAmount > MOST_BUFFERED_BYTES) {
      session.unplug();
      drop();
      return;
    }
    line.send(data);
  }

  function tell(message: ClientMessage) {
    if (socket) {
      send(socket, JSON.stringify(message));
    }
  }

  function acknowledge() {
    if (session.received !== acknowledged) {
      acknowledged = session.received;
      unacknowledgedBytes = 0;
      tell({ type: "ack", received: acknowledged });
    }
  }

  function tick() {
    const now = Date.now();
    acknowledge();
    if (pongBy !== null && now > pongBy) {
      drop();
    } else if (pongBy === null && now - heardAt > SILENCE_MS) {
      ping(PONG_MS);
    }
  }

  function ping(patience: number) {
    pongBy = Date.now() + patience;
    tell({ type: "ping" });
  }

  /** End the connection without the session. */
  function drop() {
    hangUp();
    closed(1006, "");
  }

  /** Take the line away, with everything that waits for it. */
  function hangUp(code?: number) {
    clearTimeout(timer);
    clearInterval(ticker);
    session.unplug();
    pongBy = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(code);
      socket = null;
    }
  }

  function closed(code: number, reason: string) {
    const greeted = greetedAt;
    hangUp();
    greetedAt = null;
    effort += 1;
    if (greeted !== null) {
      attempt = Date.now() - greeted > STABLE_MS ? 0 : attempt;
      clearTimeout(expiry);
      expiry = setTimeout(() => {
        session.forget();
      }, RESUME_MS);
    }
    if (SESSION_OVER.includes(code)) {
      session.forget();
    }
    if (code === BAD_VERSION) {
      refuse("This page and the server are of different versions. Load the page again.");
    } else if (code === TOO_MANY && reason === "too-many") {
      refuse("Too many pages and programs are connected with this token. Close some, and try again.");
    } else if (code === NO_ACCESS) {
      void findReason();
    } else if (code === BAD_FRAME && (refusal?.code === "unknown-language" || refusal?.code === "unknown-voice")) {
      events.unusable(refusal.code === "unknown-voice" ? "voice" : "language");
      later();
    } else if (code === TOO_MANY) {
      later(LONGEST_WAIT_MS);
    } else if (greeted === null && code !== RESTART) {
      void findReason();
    } else {
      later();
    }
  }

  function refuse(text: string) {
    session.forget();
    events.state({ state: "refused", text });
  }

  /** A browser learns nothing of an upgrade that was refused: ask by HTTP. */
  async function findReason() {
    const mine = effort;
    const found = await api.look();
    if (mine !== effort) {
      return;
    }
    if (!mayEnter(found)) {
      return;
    }
    const ready = await api.ready();
    if (mine !== effort) {
      return;
    }
    failures += ready === true ? 1 : 0;
    if (ready === false) {
      events.state({ state: "loading" });
      again(LOADING_WAIT_MS);
    } else if (failures < MOST_FAILURES) {
      later();
    } else {
      failures = 0;
      refuse(
        "The server is there, but refuses this page's connection. If there is a proxy in between, let it pass on " +
          "WebSockets; if the page has an unusual address, open it at the server's own.",
      );
    }
  }

  /** Another attempt after a while, which grows. */
  function later(atLeast = 0) {
    const delay = Math.max(atLeast, nextWait());
    events.state({ state: "reconnecting", attempt, retryAt: Date.now() + delay });
    again(delay);
  }

  function nextWait(): number {
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
    attempt += 1;
    return wait * (0.5 + Math.random() / 2); // not all pages at the same moment
  }

  function again(delay: number) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      void connect();
    }, delay);
  }

  /** The page is back, or the network is. */
  function awake() {
    if (document.visibilityState === "hidden") {
      return;
    }
    if (greetedAt !== null) {
      if (pongBy === null) {
        ping(WAKE_PONG_MS);
      }
    } else if (!socket && timer !== undefined) {
      void connect();
    }
  }

  function asleep(event: PageTransitionEvent) {
    if (event.persisted) {
      hangUp();
      greetedAt = null;
      again(0); // timers rest with the page
    }
  }

  function anew(code?: number) {
    session.forget();
    hangUp(code);
    clearTimeout(expiry);
    greetedAt = null;
    attempt = failures = 0;
    events.state({ state: "connecting" });
    void connect();
  }

  return {
    session,
    open() {
      if (!isOpen) {
        isOpen = true;
        window.addEventListener("online", awake);
        window.addEventListener("pageshow", awake);
        window.addEventListener("pagehide", asleep);
        document.addEventListener("visibilitychange", awake);
        anew();
      }
    },
    close() {
      isOpen = false;
      effort += 1;
      window.removeEventListener("online", awake);
      window.removeEventListener("pageshow", awake);
      window.removeEventListener("pagehide", asleep);
      document.removeEventListener("visibilitychange", awake);
      session.forget();
      hangUp(1000);
      clearTimeout(expiry);
      greetedAt = null;
    },
    retry() {
      if (isOpen && greetedAt === null) {
        attempt = failures = 0;
        events.state({ state: "connecting" });
        void connect();
      }
    },
    renew() {
      if (isOpen && greetedAt !== null) {
        anew(1000);
      } else {
        session.forget();
      }
    },
    signIn(shown) {
      token = shown;
      session.abandon();
      if (isOpen) {
        anew(1000);
      }
    },
    signOut() {
      session.abandon();
      hangUp(1000);
      clearTimeout(expiry);
      greetedAt = token = access = null;
      attempt = failures = 0;
      leaving = true;
      events.access(null);
      events.state({ state: "signed-out", why: "none" });
      if (isOpen) {
        void connect();
      }
    },
  };
}
