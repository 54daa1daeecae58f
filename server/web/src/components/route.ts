/** The pages, and which of them the address means: `#/memory`. */

import { useSyncExternalStore } from "react";

export type PageName = "talk" | "memory" | "status" | "settings";

export const PAGES: readonly { name: PageName; title: string; address: string }[] = [
  { name: "talk", title: "Talk", address: "#/" },
  { name: "memory", title: "Memory", address: "#/memory" },
  { name: "status", title: "Status", address: "#/status" },
  { name: "settings", title: "Settings", address: "#/settings" },
];

/** The page of a fragment; what is unknown is the first one, also a pairing link. */
export function pageOf(fragment: string): PageName {
  const path = fragment.split(/[?&]/, 1)[0]?.replace(/\/+$/, "");
  return PAGES.find((page) => page.address.replace(/\/+$/, "") === path)?.name ?? "talk";
}

export function useRoute(): PageName {
  return pageOf(useSyncExternalStore(watchFragment, () => window.location.hash));
}

function watchFragment(changed: () => void): () => void {
  window.addEventListener("hashchange", changed);
  return () => {
    window.removeEventListener("hashchange", changed);
  };
}
