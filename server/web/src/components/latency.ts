/** Where the time of a turn went, from its timeline. */

import type { Mark, Turn } from "../assistant/types";

export interface Segment {
  name: StageName | "Delivery" | "Rest";
  /** What happens in it, as half a sentence. */
  what: string;
  /** Milliseconds. */
  ms: number;
}

export interface Latency {
  segments: readonly Segment[];
  /** From the end of speech, or from sending a text, to the answer: milliseconds. */
  total: number;
  /** What the total says: "answered in" where it was heard or written, else "done in". */
  until: "sound" | "text" | "end";
}

type StageName = "End of speech" | "Transcript" | "Route" | "First word" | "First sentence" | "Voice";

const STAGES: readonly { mark: Mark; name: StageName; what: string }[] = [
  { mark: "endpoint", name: "End of speech", what: "making sure that you had finished" },
  { mark: "transcript", name: "Transcript", what: "turning your speech into words" },
  { mark: "route", name: "Route", what: "choosing who answers" },
  { mark: "first_token", name: "First word", what: "until the answer began to be written" },
  { mark: "first_sentence", name: "First sentence", what: "until it could be spoken" },
  { mark: "first_audio", name: "Voice", what: "turning it into speech" },
];

/** What a typed turn has not, whatever its timeline says. */
const OF_SPEECH: ReadonlySet<Mark> = new Set<Mark>(["endpoint", "transcript"]);

/** Null where the timeline has nothing to tell. A mark that comes before its predecessor took no time of its own. */
export function latencyOf(turn: Pick<Turn, "timeline" | "firstSoundMs" | "typed">): Latency | null {
  const marks = turn.timeline?.marks_ms;
  if (marks === undefined) return null;
  const start = turn.typed ? 0 : marks.speech_end;
  if (start === undefined) return null;

  const segments: Segment[] = [];
  let reached = start;
  for (const { mark, name, what } of STAGES) {
    const at = marks[mark];
    if (at === undefined || (turn.typed && OF_SPEECH.has(mark))) continue;
    const until = Math.max(reached, at);
    segments.push({ name, what, ms: until - reached });
    reached = until;
  }
  const here = turn.firstSoundMs;
  if (here !== null) {
    segments.push({ name: "Delivery", what: "over the network to your ears", ms: Math.max(0, start + here - reached) });
    return { segments, total: here, until: "sound" };
  }
  if (marks.first_audio !== undefined) return { segments, total: reached - start, until: "sound" };
  const written = marks.first_token ?? marks.first_sentence;
  if (written !== undefined) return { segments, total: Math.max(0, written - start), until: "text" };
  if (marks.done === undefined) return null;
  segments.push({ name: "Rest", what: "to the end of the turn", ms: Math.max(0, marks.done - reached) });
  return { segments, total: Math.max(reached, marks.done) - start, until: "end" };
}

/** Who answered, as a person would say it; empty where nobody did yet. */
export function answeredBy(route: string): string {
  if (route === "") return "";
  if (route === "none") return "no language model";
  if (route.startsWith("skill/")) return "a built-in skill";
  if (route.startsWith("house/")) return "Home Assistant";
  return `the language model ${route}`;
}
