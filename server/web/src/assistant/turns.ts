/** The history: what each event makes of it. Pure. */

import type { TurnEvent } from "./protocol";
import { MOST_TURNS, type Turn } from "./types";

/** A person's question has been begun. */
export function withTurn(turns: readonly Turn[], id: string, at: number, question: string | null): Turn[] {
  const turn: Turn = {
    id,
    at,
    typed: question !== null,
    heard: question ?? "",
    heardAll: question !== null,
    answer: "",
    answeredAll: false,
    tools: [],
    outcome: "running",
    problem: null,
    timeline: null,
    firstSoundMs: null,
    asksBack: false,
    interrupted: false,
  };
  return [...turns, turn].slice(-MOST_TURNS);
}

/** As if it had never been: nobody meant it. */
export function withoutTurn(turns: readonly Turn[], id: string): Turn[] {
  return turns.filter((turn) => turn.id !== id);
}

export function changed(turns: readonly Turn[], id: string, change: (turn: Turn) => Turn): Turn[] {
  return turns.map((turn) => (turn.id === id ? change(turn) : turn));
}

/** A turn after an event of the server. */
export function after(turn: Turn, event: TurnEvent): Turn {
  switch (event.type) {
    case "transcript_chunk":
      return { ...turn, heard: turn.heard + event.text };
    case "transcript":
      return { ...turn, heard: event.text, heardAll: true };
    case "handled_chunk":
      return { ...turn, answer: turn.answer + event.text };
    case "handled":
      return { ...turn, answer: event.text, answeredAll: true, asksBack: event.listen };
    case "tool_start":
      return { ...turn, tools: [...turn.tools, { call: event.call, name: event.name, state: "started" }] };
    case "tool_stop": {
      const state = event.failed ? "failed" : "finished";
      return { ...turn, tools: turn.tools.map((tool) => (tool.call === event.call ? { ...tool, state } : tool)) };
    }
    case "error":
      return { ...turn, problem: { code: event.code, text: sentence(event.code, event.text) } };
    case "done":
      return { ...turn, outcome: event.outcome, timeline: event.timeline };
    default:
      return turn;
  }
}

/** The answer, or a part of it, could not be played here. */
export function unheard(turn: Turn): Turn {
  return { ...turn, problem: turn.problem ?? { code: "no-sound", text: sentence("no-sound", "") } };
}

/** One that a page before this left behind has ended with it. */
export function atRest(turn: Turn): Turn {
  return turn.outcome === "running" ? { ...turn, outcome: "cancelled" } : turn;
}

/** How long after the end of speech something was, that came `sinceTranscript` ms after the words were complete. */
export function sinceSpeech(turn: Turn, sinceTranscript: number): number | null {
  const { speech_end: end, transcript } = turn.timeline?.marks_ms ?? {};
  return end === undefined || transcript === undefined ? null : Math.round(transcript - end + sinceTranscript);
}

/** What went wrong, for people; `text` is the server's own word. */
function sentence(code: string, text: string): string {
  return SENTENCES[code] ?? (text || "Something went wrong. Please try again.");
}

const SENTENCES: Partial<Record<string, string>> = {
  "no-speech": "I heard nothing. Speak a little louder or closer, and check that the right microphone is chosen.",
  "no-sound":
    "This browser did not play the answer. Click anywhere on this page, check the sound of the browser and the " +
    "loudspeaker, and ask again.",
  "not-woken": "That was not the wake word.",
  "other-satellite": "Another device heard you better, and answers.",
  "no-text": "There was no question in that. Write or say something.",
  "audio-too-long": "That was too long for me. Say it in fewer words.",
  "text-too-long": "That is too long for me. Write it in fewer words.",
  "unknown-wake-word": "The server does not know this wake word any more. Choose another one in the settings.",
  busy: "I have too much to do just now. Please ask again in a moment.",
  timeout: "That took too long, and was given up. Please ask again.",
  replaced: "Another conversation has begun at the same place.",
  engine: "A part of the server has failed; its log says more. Please ask again.",
  internal: "Something went wrong inside the server; its log says more. Please ask again.",
};
