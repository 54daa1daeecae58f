/** Who we are to the server: its routes for signing in, and whether it is ready. */

import { isFields } from "./protocol";
import type { Access } from "./types";

/** For an answer without work behind it; a server that takes longer is as good as gone. */
const ANSWER_MS = 8_000;

export type SignedIn =
  | { result: "in"; access: Access }
  /** No token was shown, or a worthless one. */
  | { result: "out" }
  /** Too many attempts; more may be made after so many seconds. */
  | { result: "wait"; seconds: number }
  /** There is no server, or something else answers in its place. */
  | { result: "gone" };

export interface AccessApi {
  look(): Promise<SignedIn>;
  signIn(token: string): Promise<SignedIn>;
  /** Whether the server has done it. */
  signOut(): Promise<boolean>;
  /** Whether the engines are loaded; null where nobody answers. */
  ready(): Promise<boolean | null>;
}

/** `base` is the address of the page's folder. */
export function createAccessApi(base: URL): AccessApi {
  const session = new URL("api/v1/session", base);

  async function look(): Promise<SignedIn> {
    const response = await ask(session, {});
    const access = response?.ok ? accessOf(await response.json().catch(() => null)) : null;
    return access ? { result: "in", access } : failure(response);
  }

  return {
    look,
    async signIn(token) {
      const headers = { "Content-Type": "application/json" };
      const response = await ask(session, { method: "POST", headers, body: JSON.stringify({ token }) });
      return response?.ok ? look() : failure(response);
    },
    async signOut() {
      const response = await ask(session, { method: "DELETE" });
      return response !== null && (response.ok || response.status === 401);
    },
    async ready() {
      const response = await ask(new URL("ready", base), {});
      return response?.ok ? true : response?.status === 503 ? false : null;
    },
  };
}

/** A request to our server; null where no answer comes. */
async function ask(url: URL, init: RequestInit): Promise<Response | null> {
  const patience = new AbortController();
  const timer = setTimeout(() => {
    patience.abort();
  }, ANSWER_MS);
  try {
    return await fetch(url, { ...init, credentials: "same-origin", cache: "no-store", signal: patience.signal });
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

function failure(response: Response | null): SignedIn {
  if (response?.status === 401) {
    return { result: "out" };
  }
  if (response?.status === 429) {
    return { result: "wait", seconds: Number(response.headers.get("Retry-After")) || 60 };
  }
  return { result: "gone" };
}

function accessOf(answer: unknown): Access | null {
  if (!isFields(answer)) {
    return null;
  }
  const { asks, role, token, user } = answer;
  return {
    asks: asks === true,
    role: role === "guest" || role === "user" ? role : "admin",
    token: typeof token === "string" ? token : "",
    user: typeof user === "string" ? user : "",
  };
}
