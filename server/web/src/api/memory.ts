/** The memory over REST: what it knows, in which memory, and how that is changed. */

import { request } from "./request";

const BASE = "api/v1/memory";

const PAGE = 50;
/** Notes of one answer. */

const IMPORT_MS = 600_000;
/** As long as the server waits for a large file over a slow network. */

export interface Note {
  id: string;
  content: string;
  keywords: readonly string[];
  tags: readonly string[];
  context: string;
  /** Seconds since 1970. */
  created: number;
  /** From when on something newer is true instead; null while it holds. */
  valid_to: number | null;
  version: number;
  source: { origin: string; speaker: string; satellite: string; room: string };
}

export interface Page {
  notes: readonly Note[];
  /** What to ask the next page with; null at the end. */
  after: string | null;
}

export interface Imported {
  notes: number;
  known: number;
  forgotten: number;
  secret: number;
}

/** Memories by key ("household", "person:anna"), with the number of their notes. */
export async function listMemories(signal?: AbortSignal): Promise<Readonly<Record<string, number>>> {
  const answer = (await request(`${BASE}/tenants`, withSignal(signal))) as { tenants: Record<string, number> };
  return answer.tenants;
}

export async function listNotes(memory: string, after: string | null, signal?: AbortSignal): Promise<Page> {
  const query = { limit: String(PAGE), ...(after === null ? {} : { after }) };
  return (await request(address("", memory, query), withSignal(signal))) as Page;
}

/** The notes that fit best, best first. */
export async function searchNotes(memory: string, words: string, signal?: AbortSignal): Promise<readonly Note[]> {
  const answer = await request(address("/search", memory, { q: words, limit: "20" }), withSignal(signal));
  return (answer as { notes: Note[] }).notes;
}

export async function addNote(memory: string, content: string): Promise<Note> {
  return (await request(address("", memory), { method: "POST", json: { content } })) as Note;
}

/** A change of the content makes a new note in place of the old one. */
export async function editNote(
  memory: string,
  id: string,
  changes: { content?: string; tags?: readonly string[] },
): Promise<Note> {
  return (await request(address(`/${encodeURIComponent(id)}`, memory), { method: "PATCH", json: changes })) as Note;
}

/** Take back the last change of what is known about a note. */
export async function undoNote(memory: string, id: string): Promise<Note> {
  return (await request(address(`/${encodeURIComponent(id)}/undo`, memory), { method: "POST" })) as Note;
}

export async function forgetNote(memory: string, id: string): Promise<void> {
  await request(address(`/${encodeURIComponent(id)}`, memory), { method: "DELETE" });
}

/** Forget all notes with these words, or all of a memory (`null`). Answers how many there were. */
export async function forgetAbout(memory: string, words: string | null): Promise<number> {
  const answer = await request(address("", memory, { about: words ?? "*" }), { method: "DELETE" });
  return (answer as { forgotten: number }).forgotten;
}

export async function importNotes(memory: string, file: Blob): Promise<Imported> {
  const type = "application/x-ndjson";
  const answer = await request(address("/import", memory), { method: "POST", file, type, deadlineMs: IMPORT_MS });
  return answer as Imported;
}

/** Where a memory can be downloaded. */
export function exportAddress(memory: string): string {
  return address("/export", memory);
}

function address(path: string, memory: string, query: Record<string, string> = {}): string {
  return `${BASE}${path}?${new URLSearchParams({ tenant: memory, ...query }).toString()}`;
}

function withSignal(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
