import { useState } from "react";

import type { AssistantState, Connection, Turn } from "../assistant/types";

const TOLD = 2;
/** Newest turns that are told of: an older one was told when it was new. */

/** A sentence of another part of the page. */
export interface Said {
  id: number;
  text: string;
}

/** The one place from which a screen reader is told something: whole sentences, once they are complete. */
export function LiveRegion({ state, said }: { state: AssistantState; said: readonly Said[] }) {
  const [opened] = useState(() => Date.now());
  const told = state.turns.filter((turn) => turn.at >= opened).map(sentencesOf);
  const news = told.filter((sentences) => sentences.length > 0).slice(-TOLD); // a silent one pushes none out
  return (
    <div aria-live="polite" className="sr-only" data-testid="announcements">
      <p>{connectionSentence(state.connection)}</p>
      {news.flat().map(({ key, text }) => (
        <p key={key}>{text}</p>
      ))}
      {said.map(({ id, text }) => (
        <p key={id}>{text}</p>
      ))}
    </div>
  );
}

function sentencesOf(turn: Turn): { key: string; text: string }[] {
  const sentences = [];
  if (turn.heardAll && turn.heard !== "" && !turn.typed) {
    sentences.push({ key: `${turn.id} heard`, text: `You said: ${turn.heard}` });
  }
  if (turn.answeredAll && turn.answer !== "") sentences.push({ key: `${turn.id} answer`, text: turn.answer });
  if (turn.problem !== null) {
    sentences.push({ key: `${turn.id} problem`, text: turn.problem.text });
  }
  return sentences;
}

function connectionSentence(connection: Connection): string {
  switch (connection.state) {
    case "connecting":
    case "connected":
      return "";
    case "loading":
      return "Meadowlark is loading its engines.";
    case "reconnecting":
      return "Meadowlark cannot be reached. This page tries again by itself.";
    case "signed-out":
      return "Meadowlark asks for a token.";
    case "refused":
      return connection.text;
  }
}
