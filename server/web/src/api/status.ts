/** What the server says of itself. */

import type { Timeline } from "../assistant/types";
import { request } from "./request";

export interface Model {
  name: string;
  ready: boolean;
  problem: string | null;
  first_token_ms: number | null;
}

export interface Engines {
  asr: { model: string; languages: readonly string[] };
  tts: { voices: readonly string[] };
  wake: { words: readonly string[] };
  agent: { models: readonly Model[]; memory: string; schedule: string };
}

export interface Status {
  version: string;
  name: string;
  wyoming_port: number;
  uptime_seconds: number;
  connections: number;
  /** Null while they are loading. */
  engines: Engines | null;
  satellites: readonly string[];
  houses: readonly { name: string; version: string; connected_seconds: number; tools: number; names: number }[];
  voice_sessions: readonly { name: string; role: string; turns: number; seconds: number; connected: boolean }[];
  turns: readonly (Timeline & { service: string })[];
}

export async function readStatus(signal: AbortSignal): Promise<Status> {
  return (await request("api/v1/voice/status", { signal })) as Status;
}
