import { cleanup, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { fillBrowser } from "../components/testing/browser";
import { memoryServer, note, type MemoryServer } from "../components/testing/memoryServer";
import { MemoryPage } from "./MemoryPage";

const ANNA = { asks: true, role: "user", token: "phone", user: "anna" } as const;

let server: MemoryServer;

beforeEach(() => {
  fillBrowser();
  server = memoryServer({
    household: [
      note("1", "The key is under the pot."),
      note("2", "The bins go out on Tuesday."),
      note("3", "The cat is Tom."),
    ],
    "person:anna": [note("4", "Anna likes tea.")],
  });
  vi.stubGlobal("fetch", server.fetch);
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

test("a guest is told that nothing is remembered, and nothing is asked for", () => {
  render(<MemoryPage access={{ ...ANNA, role: "guest" }} />);
  expect(screen.getByText("Nothing is remembered about guests.")).toBeDefined();
  expect(server.asked).toEqual([]);
});

test("one's own memory comes first, the household's can be chosen", async () => {
  render(<MemoryPage access={ANNA} />);
  await screen.findByText("Anna likes tea.");
  await userEvent.click(screen.getByRole("radio", { name: "Household" }));
  await screen.findByText("The key is under the pot.");
  expect(screen.queryByText("Anna likes tea.")).toBeNull();
});

test("more of a long memory comes when it is asked for", async () => {
  render(<MemoryPage access={null} />);
  await screen.findByText("The bins go out on Tuesday.");
  expect(screen.queryByText("The cat is Tom.")).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Show more" }));
  await screen.findByText("The cat is Tom.");
  expect(screen.queryByRole("button", { name: "Show more" })).toBeNull();
});

test("a note that is forgotten while more is fetched does not come back", async () => {
  let arrive = () => {};
  const arrives = new Promise<void>((resolve) => (arrive = resolve));
  vi.stubGlobal("fetch", async (...request: Parameters<typeof fetch>) => {
    const answer = await server.fetch(...request);
    await (typeof request[0] === "string" && request[0].includes("after=") ? arrives : undefined);
    return answer;
  });
  render(<MemoryPage access={null} />);
  await userEvent.click(await screen.findByRole("button", { name: "Show more" }));
  await userEvent.click(screen.getByRole("button", { name: "Forget: The key is under the pot." }));
  await userEvent.click(within(screen.getByRole("group", { name: "Forget this memory?" })).getByText("Forget"));
  await waitFor(() => {
    expect(screen.queryByText("The key is under the pot.")).toBeNull();
  });
  arrive();
  await screen.findByText("The cat is Tom.");
  expect(screen.queryByText("The key is under the pot.")).toBeNull();
});

test("a search shows what was found, or says that nothing was", async () => {
  render(<MemoryPage access={null} />);
  const field = await screen.findByRole("searchbox", { name: "Search" });
  await userEvent.type(field, "cat{Enter}");
  await screen.findByText("The cat is Tom.");
  expect(screen.queryByText("The key is under the pot.")).toBeNull();
  await userEvent.clear(field);
  await userEvent.type(field, "dog{Enter}");
  await screen.findByText("Nothing about “dog”. Try other words.");
});

test("a note is added, and why one is not is said", async () => {
  render(<MemoryPage access={null} />);
  const field = await screen.findByLabelText("Remember something");
  await userEvent.type(field, "The code is 1234{Enter}");
  expect((await screen.findByRole("alert")).textContent).toBe("Codes are not kept");
  await userEvent.clear(field);
  await userEvent.type(field, "Kim likes rain{Enter}");
  await screen.findByText("Kim likes rain");
  expect(screen.queryByRole("alert")).toBeNull();
});

test("a note is corrected in its place, and the focus stays there", async () => {
  render(<MemoryPage access={null} />);
  await userEvent.click(await screen.findByRole("button", { name: "Edit: The key is under the pot." }));
  const field = screen.getByLabelText("Memory");
  expect(document.activeElement).toBe(field);
  await userEvent.clear(field);
  await userEvent.type(field, "The key hangs in the shed.");
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  await screen.findByText("The key hangs in the shed.");
  expect(server.notes.household?.map((one) => one.content)).not.toContain("The key is under the pot.");
  const item = screen.getByText("The key hangs in the shed.").closest("li");
  expect(item?.contains(document.activeElement)).toBe(true);
});

test("a note is forgotten only after a second word", async () => {
  render(<MemoryPage access={null} />);
  await userEvent.click(await screen.findByRole("button", { name: "Forget: The key is under the pot." }));
  expect(server.asked.some((line) => line.startsWith("DELETE"))).toBe(false);
  await userEvent.click(within(screen.getByRole("group", { name: "Forget this memory?" })).getByText("Forget"));
  await waitFor(() => {
    expect(screen.queryByText("The key is under the pot.")).toBeNull();
  });
  expect(server.asked.at(-2)).toBe("DELETE /api/v1/memory/1?tenant=household");
});

test("everything is forgotten only when that is typed", async () => {
  render(<MemoryPage access={null} />);
  await userEvent.click(await screen.findByRole("button", { name: "Forget everything" }));
  const dialog = screen.getByRole("dialog", { name: "Forget everything?" });
  const forget = within(dialog).getByRole("button", { name: "Forget" });
  expect(forget).toHaveProperty("disabled", true);
  await userEvent.type(within(dialog).getByLabelText("Type “forget everything”"), "Forget everything");
  await userEvent.click(forget);
  await screen.findByText("3 memories are forgotten.");
  expect(server.notes.household).toEqual([]);
  expect(server.notes["person:anna"]).toHaveLength(1);
});

test("a server that is gone is said, and asked again", async () => {
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("gone")));
  render(<MemoryPage access={null} />);
  await screen.findByText("Meadowlark cannot be reached. Try again.");
  vi.stubGlobal("fetch", server.fetch);
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  await screen.findByText("The key is under the pot.");
});
