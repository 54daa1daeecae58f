import type { ReactNode } from "react";

import { readStatus, type Engines, type Status } from "../api/status";
import { buttonLook } from "../components/Button";
import { count, seconds, span, wakeWordName } from "../components/format";
import { answeredBy, latencyOf } from "../components/latency";
import { Notice } from "../components/Notice";
import { PageHeading, Section } from "../components/PageHeading";
import { useLoaded, useWhileVisible } from "../components/useLoaded";

const EVERY_MS = 3000;
/** Often enough to watch a turn, and next to nothing for the server. */

/** How Meadowlark is: its engines, who is connected, the last turns. */
export function StatusPage() {
  const { value: status, problem, loading, reload } = useLoaded(readStatus);
  useWhileVisible(() => {
    if (!loading) reload(); // a slow server is let finish
  }, EVERY_MS);
  return (
    <div className="space-y-8">
      <PageHeading title="Status">{status === null ? "How Meadowlark is doing." : headline(status)}</PageHeading>
      {problem !== "" && (
        <Notice title="The status cannot be read." icon="unplugged" look="bad">
          <p>
            {problem} This page tries again every few seconds
            {status === null ? "." : "; below is what was known last."}
          </p>
        </Notice>
      )}
      {status === null ? (
        problem === "" && <p className="text-lg text-soft">Asking the server…</p>
      ) : (
        <Parts status={status} />
      )}
    </div>
  );
}

function headline(status: Status): string {
  const state = status.engines === null ? "is loading its engines" : "is ready";
  return `${status.name === "" ? "Meadowlark" : status.name} ${state}. It has been running for ${span(status.uptime_seconds)}.`;
}

function Parts({ status }: { status: Status }) {
  return (
    <div>
      <Section title="Engines" hint="What hears, thinks and speaks.">
        {status.engines === null ? <p>They are loading…</p> : <EngineList engines={status.engines} />}
      </Section>
      <Section title="Load" hint="Who is connected just now.">
        <dl className="grid grid-cols-2 gap-6 sm:grid-cols-4">
          <Number what="Wyoming connections" number={status.connections} />
          <Number what="Pages and programs" number={status.voice_sessions.filter((one) => one.connected).length} />
          <Number what="Satellites" number={status.satellites.length} />
          <Number what="Homes" number={status.houses.length} />
        </dl>
      </Section>
      <Section title="Satellites" hint="Places that can be called, for timers and announcements.">
        <Listed none="None is connected.">
          {status.satellites.map((name) => (
            <Row key={name} name={name} />
          ))}
        </Listed>
      </Section>
      <Section title="Homes" hint="Home Assistant, and what it lends.">
        <Listed none="No Home Assistant is connected.">
          {status.houses.map((house) => (
            <Row key={house.name} name={house.name === "" ? "Home Assistant" : house.name}>
              {count(house.names, "name")}, {count(house.tools, "tool")}, for {span(house.connected_seconds)}
            </Row>
          ))}
        </Listed>
      </Section>
      <Section title="Conversations" hint="Pages and programs that speak with it, this one too.">
        <Listed none="Nobody is there.">
          {status.voice_sessions.map((one, index) => (
            <Row key={index} name={one.name === "" ? "A page or program" : one.name}>
              {one.role}, {count(one.turns, "turn")}, for {span(one.seconds)}
              {one.connected ? "" : ", not connected just now"}
            </Row>
          ))}
        </Listed>
      </Section>
      <Section title="Last turns" hint="From the end of speech to the first sound on the server.">
        <Turns turns={status.turns} />
      </Section>
      <Section title="For programs" hint={`Version ${status.version}, Wyoming on port ${status.wyoming_port}.`}>
        <div className="flex flex-wrap gap-2">
          <a href="api/docs" className={buttonLook()}>
            API documentation
          </a>
          <a href="metrics" className={buttonLook()}>
            Metrics for Prometheus
          </a>
        </div>
      </Section>
    </div>
  );
}

function EngineList({ engines }: { engines: Engines }) {
  const { memory, schedule } = engines.agent;
  return (
    <ul className="divide-y divide-line">
      <Row name="Hears" good>
        {engines.asr.model}, {count(engines.asr.languages.length, "language")}
      </Row>
      <Row name="Wakes to" good={engines.wake.words.length > 0}>
        {engines.wake.words.map(wakeWordName).join(", ") || "nothing"}
      </Row>
      {engines.agent.models.map((model) => (
        <Row key={model.name} name="Answers" good={model.ready}>
          {model.name}
          {model.first_token_ms !== null && `, first word after ${seconds(model.first_token_ms)}`}
          {model.problem !== null && <span className="block text-bad">{model.problem}</span>}
        </Row>
      ))}
      <Row name="Speaks" good={engines.tts.voices.length > 0}>
        {engines.tts.voices.join(", ") || "with no voice"}
      </Row>
      <Row name="Remembers" good={memory === "ready"}>
        {memory === "ready" ? "yes" : memory}
      </Row>
      <Row name="Keeps timers" good={schedule === "ready"}>
        {schedule === "ready" ? "yes" : schedule}
      </Row>
    </ul>
  );
}

function Listed({ none, children }: { none: string; children: readonly ReactNode[] }) {
  return children.length === 0 ? (
    <p className="text-soft">{none}</p>
  ) : (
    <ul className="divide-y divide-line">{children}</ul>
  );
}

function Row({ name, good, children }: { name: string; good?: boolean; children?: ReactNode }) {
  return (
    <li className="flex flex-wrap gap-x-4 py-2.5 first:pt-0">
      <span className="flex min-w-32 items-center gap-2 self-start font-medium">
        {good !== undefined && (
          <>
            <span aria-hidden="true" className={`size-2.5 rounded-full ${good ? "bg-good" : "bg-bad"}`} />
            <span className="sr-only">{good ? "Works:" : "Does not work:"}</span>
          </>
        )}
        {name}
      </span>
      {children !== undefined && <span className="min-w-0 flex-1 basis-48 text-soft">{children}</span>}
    </li>
  );
}

function Number({ what, number }: { what: string; number: number }) {
  return (
    <div className="flex flex-col-reverse">
      <dt className="leading-tight text-soft">{what}</dt>
      <dd className="text-4xl font-semibold tracking-tight tabular-nums">{number}</dd>
    </div>
  );
}

function Turns({ turns }: { turns: Status["turns"] }) {
  if (turns.length === 0) return <p className="text-soft">None since the start.</p>;
  const measured = turns.map((timeline) => ({
    timeline,
    latency: latencyOf({ timeline, firstSoundMs: null, typed: timeline.marks_ms.speech_end === undefined }),
  }));
  const slowest = Math.max(1, ...measured.map(({ latency }) => latency?.total ?? 0));
  return (
    <ol className="divide-y divide-line">
      {measured.map(({ timeline, latency }) => (
        <li key={timeline.turn_id} className="py-2.5 first:pt-0">
          <div className="flex items-baseline justify-between gap-4">
            <span className="min-w-0">
              {timeline.route === "" ? "Nobody answered" : `Answered by ${answeredBy(timeline.route)}`}
              <span className="block text-soft">
                {[timeline.outcome, timeline.decision.kind, timeline.decision.reason].filter(Boolean).join(" · ")}
              </span>
            </span>
            <span className="shrink-0 text-lg tabular-nums">{latency === null ? "–" : seconds(latency.total)}</span>
          </div>
          {latency !== null && (
            <div aria-hidden="true" className="mt-1.5 h-1 rounded-full bg-sunken">
              <div className="h-full rounded-full bg-lark" style={{ width: `${(100 * latency.total) / slowest}%` }} />
            </div>
          )}
        </li>
      ))}
    </ol>
  );
}
