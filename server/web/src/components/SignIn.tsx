import { useId, useState, type SyntheticEvent } from "react";

import type { Assistant, Connection } from "../assistant/types";
import { Bird } from "./Bird";
import { Button } from "./Button";
import { INPUT_LOOK } from "./Fields";
import { Notice } from "./Notice";

type Why = Extract<Connection, { state: "signed-out" }>["why"];

const TITLES: Record<Why, string | null> = {
  none: null,
  wrong: "That token is not known here.",
  revoked: "Your token was revoked.",
};

const ADVICE: Record<Why, string> = {
  none: "",
  wrong: "Check that all of it was copied, or ask for a new one.",
  revoked: "Ask whoever runs Meadowlark for a new one.",
};

/** The form for whoever comes without a token, or with one that is worth nothing. */
export function SignIn({ assistant, why }: { assistant: Assistant; why: Why }) {
  const id = useId();
  const [token, setToken] = useState("");
  const title = TITLES[why];
  const send = (event: SyntheticEvent) => {
    event.preventDefault();
    if (token.trim() !== "") assistant.signIn(token.trim());
  };
  return (
    <div className="mx-auto max-w-md space-y-6 py-8 sm:py-16">
      <Bird className="size-16" />
      <div className="space-y-2">
        <h1 tabIndex={-1} className="text-3xl font-semibold tracking-tight">
          Sign in
        </h1>
        <p className="text-lg text-soft">
          This Meadowlark is open to your network, so it asks who you are. Use the pairing link it printed at its first
          start, or enter a token.
        </p>
      </div>
      {title !== null && (
        <div role="alert">
          <Notice title={title} icon="lock" look="bad">
            <p>{ADVICE[why]}</p>
          </Notice>
        </div>
      )}
      <form data-testid="sign-in" onSubmit={send} className="space-y-4">
        <div className="space-y-1">
          <label htmlFor={id} className="font-medium">
            Token
          </label>
          <input
            id={id}
            data-testid="token"
            type="password"
            autoComplete="current-password"
            autoCapitalize="none"
            spellCheck={false}
            required
            value={token}
            onChange={(event) => {
              setToken(event.target.value);
            }}
            aria-describedby={`${id}-hint`}
            className={INPUT_LOOK}
          />
          <p id={`${id}-hint`} className="text-soft">
            Whoever runs Meadowlark makes one with <code className="break-words">meadowlark-server token add NAME</code>
            .
          </p>
        </div>
        <Button type="submit" look="primary" className="w-full">
          Sign in
        </Button>
      </form>
    </div>
  );
}
