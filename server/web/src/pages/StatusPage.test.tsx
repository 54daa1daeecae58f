import { act, cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { Status } from "../api/status";
import { timeline } from "../components/testing/turns";
import { StatusPage } from "./StatusPage";

const STATUS: Status = {
  version: "1.2.3",
  name: "Attic",
  wyoming_port: 10600,
  uptime_seconds: 7200,
  connections: 3,
  engines: {
    asr: { model: "base.en", languages: ["en"] },
    tts: { voices: ["amy"] },
    wake: { words: ["hey_meadowlark"] },
    agent: {
      models: [{ name: "qwen3:8b", ready: false, problem: "Nobody answers at its address", first_token_ms: null }],
      memory: "ready",
      schedule: "ready",
    },
  },
  satellites: ["kitchen"],
  houses: [],
  voice_sessions: [],
  turns: [{ service: "pipeline", ...timeline({ speech_end: 1000, first_audio: 1420 }) }],
};

let asked: number;
let answer: () => Response;

beforeEach(() => {
  vi.useFakeTimers();
  asked = 0;
  answer = () => Response.json(STATUS);
  vi.stubGlobal("fetch", () => {
    asked += 1;
    return Promise.resolve(answer());
  });
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function after(ms: number) {
  await act(() => vi.advanceTimersByTimeAsync(ms));
}

test("it shows how the engines are, who is connected, and how fast the last turns were", async () => {
  render(<StatusPage />);
  await after(0);
  const text = document.body.textContent;
  expect(text).toContain("Attic is ready. It has been running for 2 hours.");
  expect(text).toContain("Nobody answers at its address");
  expect(text).toContain("kitchen");
  expect(text).toContain("No Home Assistant is connected.");
  expect(text).toContain("0.4 s");
  expect(screen.getByRole("link", { name: "API documentation" }).getAttribute("href")).toBe("api/docs");
});

test("it asks again every few seconds, but not while nobody looks", async () => {
  render(<StatusPage />);
  await after(0); // the first answer
  await after(3_000);
  await after(3_000);
  expect(asked).toBe(3);
  const visible = vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
  await after(9_000);
  expect(asked).toBe(3);
  visible.mockReturnValue("visible");
  document.dispatchEvent(new Event("visibilitychange"));
  await after(0);
  expect(asked).toBe(4);
});

test("a slow answer is waited for, not asked for again", async () => {
  vi.stubGlobal("fetch", async (_: string, { signal }: { signal: AbortSignal }) => {
    asked += 1;
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    signal.throwIfAborted();
    return answer();
  });
  render(<StatusPage />);
  await after(3_000);
  await after(500);
  expect(document.body.textContent).toContain("Attic is ready.");
  expect(asked).toBe(1);
  await after(3_000);
  expect(asked).toBe(2);
});

test("what was known stays when the server is gone", async () => {
  render(<StatusPage />);
  await after(0);
  answer = () => Response.json({ error: "The engines have failed" }, { status: 503 });
  await after(3_000);
  expect(document.body.textContent).toContain("The engines have failed");
  expect(document.body.textContent).toContain("kitchen");
});

test("while the engines load it says so", async () => {
  answer = () => Response.json({ ...STATUS, engines: null });
  render(<StatusPage />);
  await after(0);
  expect(document.body.textContent).toContain("Attic is loading its engines.");
});
