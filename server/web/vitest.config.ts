import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Apart from the build's own file: a build does without the tools of the tests.
export default defineConfig({
  plugins: [react()],
  // One environment for all files takes a third of the time of one for each: what a test changes of it, it puts back.
  test: { environment: "jsdom", isolate: false, include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true },
});
