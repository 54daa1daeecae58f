import { memo } from "react";

import type { ToolUse, Turn } from "../assistant/types";
import { clock, words } from "./format";
import { Icon, type IconName } from "./Icon";
import { Latency } from "./Latency";
import { Notice } from "./Notice";

/** One question and its answer; the newest is larger. */
export const TurnView = memo(function TurnView({ turn, newest }: { turn: Turn; newest: boolean }) {
  const running = turn.outcome === "running";
  const live = running && turn.answer === "";
  return (
    <article
      data-testid="turn"
      data-outcome={turn.outcome}
      aria-label={turn.heard === "" ? "Question" : turn.heard}
      className={`space-y-3 ${newest ? "animate-rise" : "border-t border-line pt-6"}`}
    >
      <header className="flex items-baseline justify-between gap-4">
        <p
          data-testid="heard"
          dir="auto"
          className={`min-w-0 ${live ? "text-2xl" : newest ? "text-xl text-soft" : "text-lg text-soft"}`}
        >
          {turn.heard}
          {running && !turn.heardAll && <Writing label={turn.heard === "" ? "Listening" : "Still listening"} />}
        </p>
        <time dateTime={new Date(turn.at).toISOString()} className="shrink-0 text-base text-soft tabular-nums">
          {clock(turn.at)}
        </time>
      </header>
      {turn.tools.length > 0 && <Tools tools={turn.tools} />}
      {(turn.answer !== "" || (running && turn.heardAll)) && (
        <p
          data-testid="answer"
          dir="auto"
          className={`leading-snug whitespace-pre-line ${newest ? "text-xl sm:text-2xl" : "text-lg"}`}
        >
          {turn.answer}
          {running && turn.heardAll && !turn.answeredAll && <Writing label="Writing" />}
        </p>
      )}
      {turn.problem !== null && <Problem problem={turn.problem} />}
      <Remarks turn={turn} newest={newest} />
      <Latency turn={turn} />
    </article>
  );
});

const PROBLEM_ICONS: Readonly<Record<string, IconName>> = {
  "no-speech": "microphone",
  "no-sound": "speaker",
  "connection-lost": "unplugged",
};

/** The first sentence says what is the matter, the rest what to do. */
function Problem({ problem: { code, text } }: { problem: NonNullable<Turn["problem"]> }) {
  const [title = text, advice = ""] = text.split(/(?<=[.!?])\s+(.*)/s);
  return (
    <Notice title={title} icon={PROBLEM_ICONS[code] ?? "info"} testId="problem">
      {advice === "" ? undefined : <p>{advice}</p>}
    </Notice>
  );
}

function Remarks({ turn, newest }: { turn: Turn; newest: boolean }) {
  const remarks = [
    newest && turn.asksBack && turn.problem === null ? "Waits for your answer" : "",
    turn.interrupted ? "You interrupted this" : turn.outcome === "cancelled" ? "Stopped" : "",
  ].filter((remark) => remark !== "");
  if (remarks.length === 0) return null;
  return <p className="text-soft">{remarks.join(" · ")}</p>;
}

const TOOL_STATES: Record<ToolUse["state"], string> = { started: "under way", finished: "done", failed: "failed" };

function Tools({ tools }: { tools: readonly ToolUse[] }) {
  return (
    <ul aria-label="Tools used" className="flex flex-wrap gap-2">
      {tools.map((tool) => (
        <li
          key={tool.call}
          className={`flex items-center gap-1.5 rounded-full px-3 py-1 ${
            tool.state === "failed" ? "bg-bad-wash text-bad" : "bg-sunken"
          }`}
        >
          <Icon
            name={tool.state === "finished" ? "check" : tool.state === "failed" ? "cross" : "tool"}
            className={`size-4 ${tool.state === "started" ? "motion-safe:animate-pulse" : ""}`}
          />
          {words(tool.name)} <span className="sr-only">{TOOL_STATES[tool.state]}</span>
        </li>
      ))}
    </ul>
  );
}

/** There is more to come. */
function Writing({ label }: { label: string }) {
  return (
    <span role="img" aria-label={label} className="ml-1 inline-flex gap-1 align-middle">
      {["", "[animation-delay:200ms]", "[animation-delay:400ms]"].map((delay) => (
        <span key={delay} className={`size-1.5 rounded-full bg-current motion-safe:animate-pulse ${delay}`} />
      ))}
    </span>
  );
}
