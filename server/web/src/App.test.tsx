import { act, cleanup, fireEvent, render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { App } from "./App";
import type { AssistantState, Microphone } from "./assistant/types";
import { DEFAULT_SETTINGS } from "./assistant/types";
import { fillBrowser } from "./components/testing/browser";
import { fakeAssistant } from "./components/testing/fakeAssistant";
import { turn } from "./components/testing/turns";

beforeEach(() => {
  fillBrowser();
  window.location.hash = "";
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

function show(changes: Partial<AssistantState> = {}) {
  const assistant = fakeAssistant(changes);
  render(<App assistant={assistant} />);
  return assistant;
}

test("the big button talks while it is held", () => {
  const assistant = show();
  const button = screen.getByTestId("talk");
  fireEvent.pointerDown(button, { button: 0 });
  expect(assistant.calls).toEqual(["press"]);
  fireEvent.pointerUp(document.body); // wherever the finger has slid
  fireEvent.pointerUp(document.body);
  expect(assistant.calls).toEqual(["press", "release"]);
});

test("a click without a pointer, as of a screen reader, is a tap", () => {
  const assistant = show();
  fireEvent.click(screen.getByTestId("talk"), { detail: 0 });
  expect(assistant.calls).toEqual(["press", "release"]);
});

test("Space talks, however often it repeats itself; not in a text field or on another button", () => {
  const assistant = show();
  fireEvent.keyDown(document.body, { code: "Space", key: " " });
  fireEvent.keyDown(document.body, { code: "Space", key: " ", repeat: true });
  fireEvent.keyUp(document.body, { code: "Space", key: " " });
  expect(assistant.calls).toEqual(["press", "release"]);
  fireEvent.keyDown(screen.getByTestId("text"), { code: "Space", key: " " });
  fireEvent.keyDown(screen.getByText("“What time is it?”"), { code: "Space", key: " " });
  expect(assistant.calls).toHaveLength(2);
  fireEvent.keyDown(screen.getByTestId("talk"), { code: "Space", key: " " });
  fireEvent.keyUp(screen.getByTestId("talk"), { code: "Space", key: " " });
  expect(assistant.calls).toHaveLength(4);
});

test("Space talks after a click on something, until Tab leads elsewhere", () => {
  const assistant = show();
  const idea = screen.getByText("“What time is it?”");
  fireEvent.pointerDown(idea);
  fireEvent.keyDown(idea, { code: "Space", key: " " });
  fireEvent.keyUp(idea, { code: "Space", key: " " });
  expect(assistant.calls).toEqual(["press", "release"]);
  fireEvent.keyDown(idea, { code: "Tab", key: "Tab" });
  fireEvent.keyDown(idea, { code: "Space", key: " " });
  expect(assistant.calls).toHaveLength(2);
});

test("a key that is held when the window loses the focus is let go", () => {
  const assistant = show();
  fireEvent.keyDown(document.body, { code: "Space", key: " " });
  fireEvent.blur(window);
  expect(assistant.calls).toEqual(["press", "release"]);
});

test("Escape interrupts on every page, and / goes to the text field", async () => {
  const assistant = show();
  await userEvent.keyboard("/");
  expect(document.activeElement).toBe(screen.getByTestId("text"));
  await userEvent.keyboard("a/b");
  expect(screen.getByTestId("text")).toHaveProperty("value", "a/b");
  await userEvent.keyboard("{Escape}"); // empties the field first
  expect(assistant.calls).toEqual([]);
  await userEvent.keyboard("{Escape}");
  expect(assistant.calls).toEqual(["interrupt"]);
});

test("in the hands-free modes the button and the switch open and close the microphone", async () => {
  const assistant = show({ settings: { ...DEFAULT_SETTINGS, mode: "open" } });
  const button = screen.getByTestId("talk");
  fireEvent.pointerDown(button, { button: 0 });
  fireEvent.pointerUp(button);
  expect(assistant.calls).toEqual(["setHandsFree true"]);
  act(() => {
    assistant.set({ handsFree: true });
  });
  expect(button.getAttribute("aria-pressed")).toBe("true");
  await userEvent.click(screen.getByTestId("handsfree"));
  expect(assistant.calls.at(-1)).toBe("setHandsFree false");
});

test("the mode and its wake words are chosen in place", async () => {
  const assistant = show();
  await userEvent.click(screen.getByRole("radio", { name: "Wake word" }));
  expect(assistant.state.settings.mode).toBe("wake");
  expect(screen.getByRole("checkbox", { name: "Hey Meadowlark" })).toHaveProperty("checked", true);
  await userEvent.click(screen.getByRole("checkbox", { name: "Hey Jarvis" }));
  expect(assistant.state.settings.wakeWords).toEqual(["hey_meadowlark", "hey_jarvis"]);
});

test("a question is written, and not sent where nobody is there", async () => {
  const assistant = show();
  await userEvent.type(screen.getByTestId("text"), "  How are you? {Enter}");
  expect(assistant.calls).toEqual(['say "How are you?"']);
  expect(screen.getByTestId("text")).toHaveProperty("value", "");
  act(() => {
    assistant.set({ connection: { state: "connecting" } });
  });
  await userEvent.type(screen.getByTestId("text"), "Hello?{Enter}");
  expect(assistant.calls).toHaveLength(1);
  expect(screen.getByTestId("text")).toHaveProperty("value", "Hello?");
});

test("stopping gives the focus back to the big button", async () => {
  const assistant = show({ activity: "speaking", turns: [turn()] });
  await userEvent.click(screen.getByTestId("stop"));
  expect(assistant.calls).toEqual(["interrupt"]);
  expect(document.activeElement).toBe(screen.getByTestId("talk"));
});

test("the newest turn comes first, with its words, tools and what went wrong", () => {
  const failed = turn({
    id: "2",
    heard: "Set a timer",
    answer: "",
    outcome: "failed",
    tools: [{ call: "1", name: "set_timer", state: "failed" }],
    problem: { code: "engine", text: "A part has failed. Please ask again." },
  });
  show({ turns: [turn(), failed] });
  const [newest, older] = screen.getAllByTestId("turn");
  expect(newest?.dataset.outcome).toBe("failed");
  expect(within(newest as HTMLElement).getByTestId("heard").textContent).toBe("Set a timer");
  expect(within(newest as HTMLElement).getByRole("list", { name: "Tools used" }).textContent).toBe("set timer failed");
  expect(within(newest as HTMLElement).getByTestId("problem").textContent).toBe("A part has failed.Please ask again.");
  expect(within(older as HTMLElement).getByTestId("answer").textContent).toBe("It's ten o'clock.");
});

test("a screen reader is told whole sentences, once, and nothing of an earlier visit", () => {
  const assistant = show({ turns: [turn({ heard: "Old?", answer: "Old.", at: Date.now() - 1000 })] });
  const told = () => screen.getByTestId("announcements").textContent;
  const now = { id: "2", at: Date.now() + 1000, outcome: "running", answeredAll: false } as const;
  act(() => {
    assistant.set({ turns: [turn({ ...now, heard: "What", heardAll: false, answer: "" })] });
  });
  expect(told()).toBe("");
  act(() => {
    assistant.set({ turns: [turn({ ...now, heard: "What time is it?", answer: "It's" })] });
  });
  expect(told()).toBe("You said: What time is it?");
  act(() => {
    assistant.set({ turns: [turn({ ...now, heard: "What time is it?", answer: "It's ten.", answeredAll: true })] });
  });
  expect(told()).toBe("You said: What time is it?It's ten.");
  expect(document.querySelectorAll("[aria-live=polite]")).toHaveLength(1);
});

test.each<[Microphone, string]>([
  [{ state: "asking" }, "Choose “Allow” in its window"],
  [{ state: "denied", forGood: false }, "Press the big button again and choose “Allow”"],
  [{ state: "denied", forGood: true }, "The browser will not ask again."],
  [{ state: "insecure" }, "Open this page by https://"],
  [{ state: "missing" }, "Plug one in"],
  [{ state: "failed", text: "A call holds it." }, "A call holds it."],
])("the microphone %j comes with what to do", (microphone, advice) => {
  show({ microphone });
  expect(document.body.textContent).toContain(advice);
  expect(screen.getByTestId("microphone").dataset.state).toBe(microphone.state);
});

test("a server that is gone is counted down to, and tried at once when that is wanted", async () => {
  const assistant = show({ connection: { state: "reconnecting", attempt: 1, retryAt: Date.now() + 5_000 } });
  expect(document.body.textContent).toMatch(/Trying again in [45] s\./);
  expect(screen.getByTestId("connection").dataset.state).toBe("reconnecting");
  await userEvent.click(screen.getByRole("button", { name: "Try now" }));
  expect(assistant.calls).toEqual(["retry"]);
});

test("whoever is signed out gets a form instead of the page, and comes back to the page", async () => {
  const assistant = show({ connection: { state: "signed-out", why: "wrong" }, access: null });
  expect(screen.queryByTestId("talk")).toBeNull();
  expect(screen.getByRole("alert").textContent).toContain("That token is not known here.");
  await userEvent.type(screen.getByTestId("token"), " secret {Enter}");
  expect(assistant.calls).toEqual(['signIn "secret"']);
  act(() => {
    assistant.set({ connection: { state: "connected" } });
  });
  expect(document.activeElement).toBe(screen.getByRole("heading", { name: "Talk" }));
});

test("each page has its title, and the focus goes to its heading", async () => {
  show();
  expect(document.title).toBe("Talk · Meadowlark");
  await userEvent.click(screen.getByRole("link", { name: "Settings" }));
  const heading = await screen.findByRole("heading", { name: "Settings" });
  expect(document.activeElement).toBe(heading);
  expect(document.title).toBe("Settings · Meadowlark");
  expect(screen.getByRole("link", { name: "Settings" }).getAttribute("aria-current")).toBe("page");
});

test("a setting counts at once", async () => {
  window.location.hash = "#/settings";
  const assistant = show();
  await userEvent.click(screen.getByRole("radio", { name: "Dark" }));
  expect(document.documentElement.dataset.theme).toBe("dark");
  await userEvent.click(screen.getByRole("switch", { name: "Keep history" }));
  await userEvent.selectOptions(screen.getByRole("combobox", { name: "Language" }), "de");
  fireEvent.change(screen.getByRole("slider", { name: "Volume" }), { target: { value: "40" } });
  expect(assistant.state.settings).toMatchObject({ theme: "dark", keepHistory: false, language: "de", volume: 0.4 });
});

test("a call of the server is shown on every page, as one alert for all its rings, and is stopped there", async () => {
  const ring = { id: "a", text: "Your timer has ended.", rings: true, sounds: true };
  const assistant = show({ notices: [ring] });
  const alert = screen.getByRole("alert");
  expect(alert.textContent).toBe(ring.text);
  act(() => {
    assistant.set({ notices: [{ ...ring, sounds: false }] });
  });
  await userEvent.click(screen.getByRole("link", { name: "Settings" }));
  expect(screen.getByRole("alert")).toBe(alert);
  await userEvent.click(screen.getByRole("button", { name: "Stop", description: ring.text }));
  expect(assistant.calls).toEqual(['dismiss "a"']);
  expect(document.activeElement).toBe(screen.getByRole("main"));
});

test("Escape stops what rings or sounds, and then the answer; what was heard is dismissed", async () => {
  const heard = { id: "a", text: "Dinner is ready.", rings: false, sounds: false };
  const assistant = show({ notices: [{ id: "b", text: "Tea!", rings: true, sounds: false }, heard] });
  await userEvent.keyboard("{Escape}");
  act(() => {
    assistant.set({ notices: [heard] });
  });
  await userEvent.keyboard("{Escape}");
  await userEvent.click(screen.getByRole("button", { name: "Dismiss" }));
  expect(assistant.calls).toEqual(['dismiss "b"', "interrupt", 'dismiss "a"']);
});

test("the title says what calls while nobody sees the page", () => {
  show({ notices: [{ id: "a", text: "Tea!", rings: true, sounds: true }] });
  expect(document.title).toBe("Talk · Meadowlark");
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  fireEvent(document, new Event("visibilitychange"));
  expect(document.title).toBe("Tea! · Meadowlark");
  hidden.mockRestore();
  fireEvent(document, new Event("visibilitychange"));
  expect(document.title).toBe("Talk · Meadowlark");
});
