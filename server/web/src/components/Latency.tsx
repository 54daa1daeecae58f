import { useId, useState } from "react";

import type { Turn } from "../assistant/types";
import { seconds } from "./format";
import { Icon } from "./Icon";
import { answeredBy, latencyOf, type Latency as Measured, type Segment } from "./latency";

const SHADES: Readonly<Record<Segment["name"], string>> = {
  "End of speech": "bg-ink/80",
  Transcript: "bg-ink/55",
  Route: "bg-ink/35",
  "First word": "bg-lark-text/85",
  "First sentence": "bg-lark-text/60",
  Voice: "bg-lark",
  Delivery: "bg-lark/60",
  Rest: "bg-ink/20",
};
/** Dark for what hears, brown for what thinks, yellow for what speaks. */

const THINNEST = 0.015;
/** Of the strip: what took next to no time is seen all the same. */

/** Where the time of a turn went: a strip, its total, and on demand its parts. */
export function Latency({ turn }: { turn: Turn }) {
  const id = useId();
  const [open, setOpen] = useState(false);
  const latency = latencyOf(turn);
  if (latency === null) return null;
  const shown = latency.segments.filter((segment) => segment.ms >= 0.5);
  const who = answeredBy(turn.timeline?.route ?? "");
  return (
    <figure data-testid="latency" className="max-w-md text-base">
      <div className="flex items-center gap-3">
        <div
          role="img"
          aria-label={inWords(latency)}
          className="flex h-1.5 min-w-8 flex-1 gap-px overflow-hidden rounded-full"
        >
          {shown.map((segment) => (
            <span
              key={segment.name}
              className={`min-w-0.5 ${SHADES[segment.name]}`}
              style={{ flexGrow: Math.max(THINNEST * latency.total, segment.ms), flexBasis: 0 }}
            />
          ))}
        </div>
        <figcaption>
          <button
            type="button"
            aria-expanded={open}
            aria-controls={id}
            onClick={() => {
              setOpen(!open);
            }}
            className="-mx-2 flex min-h-9 items-center gap-1 rounded-md px-2 text-soft hover:bg-sunken hover:text-ink"
          >
            {headline(latency)}
            <Icon name="down" className={`size-4 ${open ? "rotate-180" : ""}`} />
            <span className="sr-only">, details</span>
          </button>
        </figcaption>
      </div>
      <div id={id} hidden={!open} className="pt-2 text-soft">
        <dl className="space-y-1">
          {latency.segments.map((segment) => (
            <div key={segment.name} className="flex items-baseline gap-2">
              <span aria-hidden="true" className={`size-2.5 shrink-0 rounded-full ${SHADES[segment.name]}`} />
              <dt className="min-w-0 flex-1">
                <span className="text-ink">{segment.name}</span>: {segment.what}
              </dt>
              <dd className="text-ink tabular-nums">{seconds(segment.ms)}</dd>
            </div>
          ))}
        </dl>
        {who !== "" && <p className="pt-2">Answered by {who}.</p>}
      </div>
    </figure>
  );
}

function headline(latency: Measured): string {
  const verb = { sound: "answered", text: "began to write", end: "done" }[latency.until];
  return `${verb} in ${seconds(latency.total)}`;
}

function inWords(latency: Measured): string {
  const parts = latency.segments.map((segment) => `${segment.name} ${seconds(segment.ms)}`);
  return `${headline(latency)}: ${parts.join(", ")}`;
}
