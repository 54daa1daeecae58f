/** The frames of `WS /api/v1/voice/stream`; see server/README.md. */

import type { Timeline, Voice } from "./types";

export const PROTOCOL = 1;

/** What the page sends as text. */
export type ClientMessage =
  | { type: "start"; protocol: number; session: string; received: number }
  | ({ type: "start"; protocol: number; language: string; voice: string; conversation_id: string } & Place)
  | Listen
  | { type: "end_audio" }
  | Text
  | { type: "cancel" }
  | { type: "played"; turn: number; seconds?: number }
  | { type: "noticed"; id: string; outcome: CallOutcome }
  | { type: "ack"; received: number }
  | { type: "ping" };

/** Whom the server calls. */
export interface Place {
  name: string;
  calls: boolean;
}

/** It was played to its end, or the person has stopped it for good, or it could not be played. */
export type CallOutcome = "heard" | "stopped" | "failed";

export interface Listen {
  type: "listen";
  mode: "hands_free" | "push_to_talk";
  wake_words: readonly string[];
}

export interface Text {
  type: "text";
  text: string;
}

export interface Ready {
  type: "ready";
  protocol: number;
  session: string;
  resumed: boolean;
  turn: number;
  audio_received: number;
  voices: Voice[];
  wake_words: string[];
}

/** Something that happens in the turn with this number. */
export type TurnMessage = { turn: number } & TurnEvent;

export type TurnEvent =
  | { type: "listening" | "not_detected" | "voice_started" | "voice_stopped" | "transcript_stop" }
  | { type: "transcript_start" | "handled_stop" | "audio_stop" }
  | { type: "detection"; name: string }
  | { type: "transcript_chunk" | "transcript" | "handled_chunk"; text: string }
  | { type: "handled_start"; conversation_id: string }
  | { type: "handled"; text: string; conversation_id: string; listen: boolean; volume: Volume | null }
  | { type: "tool_start"; call: string; name: string }
  | { type: "tool_stop"; call: string; name: string; failed: boolean }
  | { type: "audio_start"; rate: number; channels: number }
  | { type: "done"; outcome: "completed" | "cancelled" | "failed"; timeline: Timeline | null }
  | { type: "error"; code: string; text: string };

/** Percent. */
export interface Volume {
  change: number | null;
  to: number | null;
}

/** An error that belongs to no turn; after a fatal one the connection is closed. */
export interface Refusal {
  type: "refusal";
  code: string;
  text: string;
  fatal: boolean;
}

/** Something that is to be shown and spoken here, although nobody has asked for it. */
export interface Call {
  type: "notice";
  id: string;
  text: string;
  language: string;
  chime: boolean;
  /** Again and again until it is stopped: each ring is a call. */
  rings: boolean;
}

/** It was withdrawn, or stopped elsewhere, or comes too late. */
export interface CallEnd {
  type: "notice_end";
  id: string;
}

export type ServerMessage = Ready | TurnMessage | Refusal | Call | CallEnd;

type Fields = Partial<Record<string, unknown>>;

/** A text frame of the server; null for what is newer than this page, or no message. */
export function parse(frame: string): ServerMessage | null {
  let fields: unknown;
  try {
    fields = JSON.parse(frame);
  } catch {
    return null;
  }
  if (!isFields(fields)) {
    return null;
  }
  if (fields["type"] === "ready") {
    return ready(fields);
  }
  if (fields["type"] === "notice" || fields["type"] === "notice_end") {
    return call(fields["type"], fields);
  }
  const turn = fields["turn"];
  if (typeof turn !== "number") {
    return fields["type"] === "error" ? refusal(fields) : null;
  }
  const event = eventOf(fields);
  return event && { turn, ...event };
}

function ready(fields: Fields): Ready {
  const voices = list(fields["voices"]).filter(isFields);
  return {
    type: "ready",
    protocol: number(fields["protocol"]),
    session: text(fields["session"]),
    resumed: fields["resumed"] === true,
    turn: number(fields["turn"]),
    audio_received: number(fields["audio_received"]),
    voices: voices.map((voice) => ({ name: text(voice["name"]), languages: texts(voice["languages"]) })),
    wake_words: texts(fields["wake_words"]),
  };
}

function call(type: "notice" | "notice_end", fields: Fields): Call | CallEnd {
  const id = text(fields["id"]);
  if (type === "notice_end") {
    return { type, id };
  }
  return {
    ...{ type, id, text: text(fields["text"]), language: text(fields["language"]) },
    ...{ chime: fields["chime"] === true, rings: fields["rings"] === true },
  };
}

function refusal(fields: Fields): Refusal {
  return { type: "refusal", code: text(fields["code"]), text: text(fields["text"]), fatal: fields["fatal"] === true };
}

function eventOf(fields: Fields): TurnEvent | null {
  const type = fields["type"];
  switch (type) {
    case "listening":
    case "not_detected":
    case "voice_started":
    case "voice_stopped":
    case "transcript_start":
    case "transcript_stop":
    case "handled_stop":
    case "audio_stop":
      return { type };
    case "transcript_chunk":
    case "transcript":
    case "handled_chunk":
      return { type, text: text(fields["text"]) };
    case "detection":
      return { type, name: text(fields["name"]) };
    case "handled_start":
      return { type, conversation_id: text(fields["conversation_id"]) };
    case "handled":
      return {
        type,
        text: text(fields["text"]),
        conversation_id: text(fields["conversation_id"]),
        listen: fields["listen"] === true,
        volume: volume(fields["volume"]),
      };
    case "tool_start":
      return { type, call: text(fields["call"]), name: text(fields["name"]) };
    case "tool_stop":
      return { type, call: text(fields["call"]), name: text(fields["name"]), failed: fields["failed"] === true };
    case "audio_start":
      return audioStart(fields);
    case "done":
      return { type, outcome: outcome(fields["outcome"]), timeline: timeline(fields["timeline"]) };
    case "error":
      return { type, code: text(fields["code"]), text: text(fields["text"]) };
    default:
      return null;
  }
}

/** null for sound that is not s16le: it cannot be played. */
function audioStart(fields: Fields): TurnEvent | null {
  const rate = number(fields["rate"]);
  const channels = number(fields["channels"]);
  return fields["width"] === 2 && rate > 0 && channels > 0 ? { type: "audio_start", rate, channels } : null;
}

function volume(value: unknown): Volume | null {
  if (!isFields(value)) {
    return null;
  }
  const { change, to } = value;
  return { change: typeof change === "number" ? change : null, to: typeof to === "number" ? to : null };
}

function outcome(value: unknown): "completed" | "cancelled" | "failed" {
  return value === "cancelled" || value === "failed" ? value : "completed";
}

function timeline(value: unknown): Timeline | null {
  if (!isFields(value) || !isFields(value["marks_ms"])) {
    return null;
  }
  const decision = isFields(value["decision"]) ? value["decision"] : {};
  const guesses = isFields(value["guesses"]) ? value["guesses"] : {};
  const confidence = decision["confidence"];
  const marks = Object.entries(value["marks_ms"]).filter(([, at]) => typeof at === "number");
  return {
    turn_id: text(value["turn_id"]),
    route: text(value["route"]),
    outcome: text(value["outcome"]),
    decision: {
      kind: text(decision["kind"]),
      confidence: typeof confidence === "number" ? confidence : null,
      reason: text(decision["reason"]),
    },
    guesses: {
      kept: number(guesses["kept"]),
      discarded: number(guesses["discarded"]),
      dropped: number(guesses["dropped"]),
      saved_ms: number(guesses["saved_ms"]),
    },
    marks_ms: Object.fromEntries(marks),
  };
}

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function texts(value: unknown): string[] {
  return list(value).filter((item) => typeof item === "string");
}
