/** Requests to the server's REST part, which lies beside the page. */

const DEADLINE_MS = 15_000;
/** Everything asked for here is answered within a second; a slow network may take longer. */

/** Something was not done; the message is a sentence for the person. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** 0 where there was no answer. */
    readonly status: number,
  ) {
    super(message);
  }
}

interface Options {
  method?: "GET" | "POST" | "PATCH" | "DELETE";
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is. */
  file?: Blob;
  type?: string;
  signal?: AbortSignal;
  deadlineMs?: number;
}

/** The answer's JSON. ApiError where there is none, or one that says why not; AbortError where `signal` ended it. */
export async function request(path: string, options: Options = {}): Promise<unknown> {
  const { method = "GET", json, file, type = "application/json", signal, deadlineMs = DEADLINE_MS } = options;
  const deadline = AbortSignal.timeout(deadlineMs);
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
      ...(json === undefined && file === undefined
        ? {}
        : { headers: { "Content-Type": type }, body: file ?? JSON.stringify(json) }),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    const late = deadline.aborted;
    throw new ApiError(late ? "Meadowlark took too long. Try again." : "Meadowlark cannot be reached. Try again.", 0);
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(sentenceOf(body, response.status), response.status);
  return body;
}

function sentenceOf(body: unknown, status: number): string {
  if (typeof body === "object" && body !== null && "error" in body && typeof body.error === "string") return body.error;
  if (status === 401) return "Your token is not accepted any more: sign in again.";
  if (status === 429) return "That was too often. Wait a moment, then try again.";
  return `Meadowlark answered with an error (${status}). Try again.`;
}

/** What went wrong, as a sentence. */
export function sentence(error: unknown): string {
  return error instanceof ApiError ? error.message : "Something went wrong here. Reload the page and try again.";
}
