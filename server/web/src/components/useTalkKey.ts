import { useEffect, useMemo, useRef } from "react";

import type { Assistant, AssistantState } from "../assistant/types";

export interface Talk {
  down: () => void;
  up: () => void;
}

/** What the big button and Space do: push to talk, or the hands-free microphone on and off. */
export function useTalkKey(assistant: Assistant, { settings, handsFree }: AssistantState): Talk {
  const held = useRef(false);
  const up = useMemo(
    () => () => {
      if (!held.current) return;
      held.current = false;
      assistant.release();
    },
    [assistant],
  );
  useEffect(() => {
    const ends = ["pointerup", "pointercancel", "blur"] as const;
    ends.forEach((name) => {
      window.addEventListener(name, up);
    });
    return () => {
      ends.forEach((name) => {
        window.removeEventListener(name, up);
      });
      up();
    };
  }, [up]);
  const down = () => {
    if (settings.mode !== "push") {
      assistant.setHandsFree(!handsFree);
    } else if (!held.current) {
      held.current = true;
      assistant.press();
    }
  };
  return { down, up };
}
