/** What is going on, in words. */

import type { AssistantState, Microphone } from "../assistant/types";
import { wakeWordName } from "./format";

const NO_MICROPHONE: ReadonlySet<Microphone["state"]> = new Set(["denied", "insecure", "missing", "failed"]);

/** The few words above the big button. */
export function activityWords(state: AssistantState): string {
  if (state.connection.state === "loading") return "Getting ready…";
  if (state.connection.state !== "connected") return "Not connected";
  if (state.microphone.state === "asking") return "May I listen?";
  switch (state.activity) {
    case "idle":
      if (NO_MICROPHONE.has(state.microphone.state)) return "You can write to me";
      return state.settings.mode === "push" ? "Ready when you are" : "The microphone is off";
    case "waiting":
      return waitingFor(wakeWordsOf(state)[0]);
    case "listening":
      return "Listening…";
    case "hearing":
      return "I hear you…";
    case "thinking":
      return "Thinking…";
    case "speaking":
      return "Answering";
  }
}

function waitingFor(word: string | undefined): string {
  return word === undefined ? "Waiting" : `Say “${wakeWordName(word)}”`;
}

/** What the big button does, for those who see it and for those who hear it. */
export function buttonHint(state: AssistantState): string {
  if (state.settings.mode !== "push") {
    return state.handsFree ? "Press to switch the microphone off" : "Press to switch the microphone on";
  }
  if (state.activity === "listening" || state.activity === "hearing")
    return "Let go, or press again, when you are done";
  if (state.activity === "speaking") return "Press to interrupt and speak";
  return "Hold to speak, or tap";
}

/** The words that wake it: those chosen here as far as the server knows them, else its first. */
export function wakeWordsOf(state: AssistantState): readonly string[] {
  const chosen = state.settings.wakeWords.filter((word) => state.wakeWords.includes(word));
  return chosen.length > 0 ? chosen : state.wakeWords.slice(0, 1);
}
