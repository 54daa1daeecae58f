import { useLayoutEffect } from "react";

import type { Settings } from "../assistant/types";
import { DARK, useMedia } from "./media";

export type Theme = "light" | "dark";

/** Give the page its colours, and the browser's frame around it. */
export function useTheme(chosen: Settings["theme"]): Theme {
  const prefersDark = useMedia(DARK);
  const theme = chosen === "system" ? (prefersDark ? "dark" : "light") : chosen;
  useLayoutEffect(() => {
    document.documentElement.dataset.theme = theme;
    const ground = getComputedStyle(document.documentElement).getPropertyValue("--ground").trim();
    document.querySelector('meta[name="theme-color"]')?.setAttribute("content", ground);
  }, [theme]);
  return theme;
}
