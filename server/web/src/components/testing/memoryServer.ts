/** The memory's routes as the server has them, on a few notes in a list. */

import type { Note } from "../../api/memory";

export interface MemoryServer {
  /** By memory. */
  notes: Record<string, Note[]>;
  /** "METHOD path?query" of every request, in their order. */
  readonly asked: readonly string[];
  fetch: typeof fetch;
}

export function note(id: string, content: string, changes: Partial<Note> = {}): Note {
  return {
    id,
    content,
    keywords: [],
    tags: [],
    context: "",
    created: 1_700_000_000,
    valid_to: null,
    version: 1,
    source: { origin: "said", speaker: "", satellite: "", room: "" },
    ...changes,
  };
}

export function memoryServer(notes: Record<string, Note[]>): MemoryServer {
  const asked: string[] = [];
  const server: MemoryServer = {
    notes,
    asked,
    fetch: async (input, init) => {
      const address = new URL(input instanceof Request ? input.url : input, "http://test/");
      const method = init?.method ?? "GET";
      asked.push(`${method} ${address.pathname}${address.search}`);
      const body = typeof init?.body === "string" ? (JSON.parse(init.body) as Record<string, unknown>) : {};
      const [status, answer] = answerOf(server.notes, method, address, body);
      return Promise.resolve(new Response(JSON.stringify(answer), { status }));
    },
  };
  return server;
}

function answerOf(
  memories: Record<string, Note[]>,
  method: string,
  address: URL,
  body: Record<string, unknown>,
): [number, unknown] {
  const path = address.pathname.replace("/api/v1/memory", "");
  const query = address.searchParams;
  const key = query.get("tenant") ?? "household";
  const notes = (memories[key] ??= []);
  if (path === "/tenants") return [200, { tenants: Object.fromEntries(entriesOf(memories)) }];
  if (path === "/search") return [200, { notes: withWords(notes, query.get("q") ?? "") }];
  if (path === "" && method === "GET") {
    const from = query.has("after") ? notes.findIndex((one) => one.id === query.get("after")) + 1 : 0;
    const page = notes.slice(from, from + 2);
    return [200, { notes: page, after: from + 2 < notes.length ? page.at(-1)?.id : null }];
  }
  if (path === "" && method === "POST") {
    if (String(body.content).includes("code")) return [409, { error: "Codes are not kept" }];
    const added = note(`new ${notes.length}`, String(body.content));
    memories[key] = [added, ...notes];
    return [201, added];
  }
  if (path === "" && method === "DELETE") {
    const about = query.get("about") ?? "";
    const gone = about === "*" ? notes : withWords(notes, about);
    memories[key] = notes.filter((one) => !gone.includes(one));
    return [200, { forgotten: gone.length }];
  }
  const id = decodeURIComponent(path.slice(1));
  const found = notes.find((one) => one.id === id);
  if (found === undefined) return [404, { error: "There is no such memory" }];
  memories[key] = notes.filter((one) => one !== found);
  if (method === "DELETE") return [200, { forgotten: 1 }];
  const changed = { ...found, ...body, id: `${id} again` };
  memories[key].push(changed);
  return [200, changed];
}

function entriesOf(memories: Record<string, Note[]>): [string, number][] {
  return Object.entries(memories).map(([key, notes]) => [key, notes.length]);
}

function withWords(notes: readonly Note[], words: string): Note[] {
  return notes.filter((one) => one.content.includes(words));
}
