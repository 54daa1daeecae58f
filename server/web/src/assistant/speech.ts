/** The server's voice for what it does not speak itself. */

import { readWav, type Sound } from "../audio/wav";

/** A notice is one or two sentences, which a busy server speaks within this. */
const DEADLINE_MS = 15_000;

/** Over a minute, in the best of formats. */
const MOST_BYTES = 16 * 1024 * 1024;

/** null where it cannot be spoken, or `signal` has ended it. */
export type Speak = (text: string, language: string, signal: AbortSignal) => Promise<Sound | null>;

/** `base` is the address of the page's folder. */
export function createSpeech(base: URL): Speak {
  const address = new URL("api/v1/voice/synthesize", base);
  return async (text, language, signal) => {
    const patience = new AbortController();
    const end = () => {
      patience.abort();
    };
    const timer = setTimeout(end, DEADLINE_MS);
    signal.addEventListener("abort", end);
    try {
      const response = await fetch(address, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(language ? { text, language } : { text }),
        credentials: "same-origin",
        cache: "no-store",
        signal: patience.signal,
      });
      const file = response.ok && response.body ? await readAll(response.body) : null;
      return file && readWav(file);
    } catch {
      return null;
    } finally {
      end(); // also the rest of an answer that is not wanted
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  };
}

/** null where there is too much of it. */
async function readAll(body: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<ArrayBuffer | null> {
  const reader = body.getReader();
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    bytes += piece.value.byteLength;
    if (bytes > MOST_BYTES) {
      return null;
    }
    pieces.push(piece.value);
  }
  return new Blob(pieces).arrayBuffer();
}
