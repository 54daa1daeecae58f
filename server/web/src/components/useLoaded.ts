import { useCallback, useEffect, useRef, useState } from "react";

import { sentence } from "../api/request";

export interface Loaded<T> {
  /** What came last, also while newer is asked for. */
  value: T | null;
  /** Why there is nothing newer; empty where nothing is wrong. */
  problem: string;
  loading: boolean;
  reload: () => void;
}

/** What a request answers, asked for again whenever `load` is another one or `reload` is called. */
export function useLoaded<T>(load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [asked, setAsked] = useState(0);
  const [answer, setAnswer] = useState<{ of: typeof load; asked: number; value: T | null; problem: string } | null>(
    null,
  );
  useEffect(() => {
    const ending = new AbortController();
    load(ending.signal).then(
      (value) => {
        if (!ending.signal.aborted) setAnswer({ of: load, asked, value, problem: "" });
      },
      (error: unknown) => {
        if (ending.signal.aborted) return;
        setAnswer((before) => ({
          of: load,
          asked,
          value: before?.of === load ? before.value : null,
          problem: sentence(error),
        }));
      },
    );
    return () => {
      ending.abort();
    };
  }, [load, asked]);
  const reload = useCallback(() => {
    setAsked((times) => times + 1);
  }, []);
  const mine = answer?.of === load;
  return {
    value: mine ? answer.value : null,
    problem: mine ? answer.problem : "",
    loading: !mine || answer.asked !== asked,
    reload,
  };
}

/** Call again and again while the page can be seen, and at once when it is seen again. */
export function useWhileVisible(call: () => void, everyMs: number): void {
  const newest = useRef(call);
  useEffect(() => {
    newest.current = call;
  });
  useEffect(() => {
    const callIfVisible = () => {
      if (document.visibilityState === "visible") newest.current();
    };
    const timer = setInterval(callIfVisible, everyMs);
    document.addEventListener("visibilitychange", callIfVisible);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", callIfVisible);
    };
  }, [everyMs]);
}
