import { useEffect, useId, useState } from "react";

import type { Assistant, CallNotice } from "../assistant/types";
import { Button } from "./Button";
import { Icon } from "./Icon";

interface Props {
  assistant: Assistant;
  notices: readonly CallNotice[];
  /** A card is gone, and the focus may have been in it. */
  gone: () => void;
}

/** What the server calls with, in front of every page: a timer that rings, an announcement. */
export function CallCards({ assistant, notices, gone }: Props) {
  return (
    <div className="sticky top-2 z-10 max-h-[60dvh] space-y-3 overflow-y-auto not-empty:mb-6">
      {notices.map((notice) => (
        <CallCard
          key={notice.id}
          notice={notice}
          dismiss={() => {
            assistant.dismiss(notice.id);
            gone();
          }}
        />
      ))}
    </div>
  );
}

function CallCard({ notice, dismiss }: { notice: CallNotice; dismiss: () => void }) {
  const words = useId();
  return (
    <div
      data-testid="notice"
      data-rings={notice.rings}
      className="animate-rise flex flex-wrap items-center gap-3 rounded-xl bg-lark p-4 text-on-lark shadow-lg"
    >
      <Icon name="bell" className="size-6 shrink-0" />
      <p id={words} role="alert" className="min-w-0 flex-1 basis-40 text-lg leading-snug font-semibold">
        {notice.text}
      </p>
      <Button data-testid="notice-end" aria-describedby={words} onClick={dismiss}>
        {notice.rings ? "Stop" : "Dismiss"}
      </Button>
    </div>
  );
}

/** The newest notice's words while nobody looks at the page; empty otherwise. */
export function useUnseen(notices: readonly CallNotice[]): string {
  const [hidden, setHidden] = useState(document.hidden);
  useEffect(() => {
    const look = () => {
      setHidden(document.hidden);
    };
    document.addEventListener("visibilitychange", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
    };
  }, []);
  return hidden ? (notices.at(-1)?.text ?? "") : "";
}
