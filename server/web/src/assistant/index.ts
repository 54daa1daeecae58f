/** The assistant, and how React sees it. */

import { useCallback, useSyncExternalStore } from "react";

import { createAssistant as create } from "./assistant";
import type { Assistant, AssistantState } from "./types";

/** `base` is the address of the page's folder, if it is not that of this page. */
export function createAssistant(base?: string): Assistant {
  return create(base);
}

export function useAssistant(assistant: Assistant): AssistantState {
  const subscribe = useCallback((changed: () => void) => assistant.subscribe(changed), [assistant]);
  return useSyncExternalStore(subscribe, () => assistant.state);
}
