import { useId, useRef, type RefObject } from "react";

import type { Assistant, AssistantState, Microphone } from "../assistant/types";
import { buttonHint } from "../components/activity";
import { ActivityLine } from "../components/ActivityLine";
import { AskByText } from "../components/AskByText";
import { Button } from "../components/Button";
import { FirstWords } from "../components/FirstWords";
import { Icon } from "../components/Icon";
import { Keys } from "../components/Keys";
import { ListenControls } from "../components/ListenControls";
import { MicrophoneNotice } from "../components/MicrophoneNotice";
import { TalkButton } from "../components/TalkButton";
import type { Theme } from "../components/theme";
import { TurnView } from "../components/TurnView";
import { useShortcuts } from "../components/useShortcuts";
import { useTalkKey } from "../components/useTalkKey";

interface Props {
  assistant: Assistant;
  state: AssistantState;
  theme: Theme;
}

/** Speak or write, and see and hear the answer. */
export function TalkPage({ assistant, state, theme }: Props) {
  const button = useRef<HTMLButtonElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const talk = useTalkKey(assistant, state);
  useShortcuts({
    talk,
    write: () => {
      field.current?.focus();
    },
  });
  return (
    <div className="grid gap-8 pb-20 lg:grid-cols-[23rem_minmax(0,1fr)] lg:gap-16 lg:pb-0">
      <VoicePanel assistant={assistant} state={state} theme={theme} talk={talk} button={button} />
      <Conversation assistant={assistant} state={state} field={field} />
    </div>
  );
}

interface VoiceProps extends Props {
  talk: ReturnType<typeof useTalkKey>;
  button: RefObject<HTMLButtonElement | null>;
}

function VoicePanel({ assistant, state, theme, talk, button }: VoiceProps) {
  const hint = useId();
  const busy = state.activity === "thinking" || state.activity === "speaking";
  return (
    <section aria-label="Voice" className="flex flex-col items-center self-start text-center lg:sticky lg:top-8">
      <h1 tabIndex={-1} className="sr-only">
        Talk
      </h1>
      <ActivityLine state={state} />
      <TalkButton assistant={assistant} state={state} talk={talk} theme={theme} describedBy={hint} ref={button} />
      <div className="flex min-h-12 items-center sm:min-h-16">
        <p id={hint} className={busy ? "sr-only" : "text-lg text-soft"}>
          {buttonHint(state)}
        </p>
        {busy && (
          <Button
            data-testid="stop"
            onClick={() => {
              button.current?.focus(); // before this one is gone, and the focus with it
              assistant.interrupt();
            }}
          >
            <Icon name="stop" className="size-5 fill-current" /> Stop
          </Button>
        )}
      </div>
      <MicrophoneLine microphone={state.microphone} />
      <div className="w-full space-y-4">
        <MicrophoneNotice microphone={state.microphone} />
        <ListenControls assistant={assistant} state={state} />
        <Keys />
      </div>
    </section>
  );
}

/** Whether it listens, and with what. On a phone only where that is worth a line. */
function MicrophoneLine({ microphone }: { microphone: Microphone }) {
  const off = microphone.state === "off";
  return (
    <p
      data-testid="microphone"
      data-state={microphone.state}
      className={`mb-4 flex items-center gap-1.5 text-soft ${off ? "max-sm:sr-only" : ""}`}
    >
      <Icon name={microphone.state === "on" ? "microphone" : "muted"} className="size-4" />
      {microphoneWords(microphone)}
    </p>
  );
}

function microphoneWords(microphone: Microphone): string {
  switch (microphone.state) {
    case "on":
      return microphone.label === "" ? "Microphone on" : microphone.label;
    case "off":
      return "Microphone off";
    case "asking":
      return "Waiting for permission";
    case "denied":
      return "Microphone not allowed";
    case "insecure":
      return "Microphone needs https";
    case "missing":
      return "No microphone";
    case "failed":
      return "Microphone not usable";
  }
}

function Conversation({
  assistant,
  state,
  field,
}: {
  assistant: Assistant;
  state: AssistantState;
  field: RefObject<HTMLInputElement | null>;
}) {
  const disabled = state.connection.state !== "connected";
  const say = (text: string) => {
    assistant.say(text);
  };
  const turns = state.turns.toReversed();
  return (
    <section aria-label="Conversation" className="min-w-0 space-y-8">
      <AskByText say={say} disabled={disabled} ref={field} />
      {turns.length === 0 ? (
        <FirstWords say={say} disabled={disabled} />
      ) : (
        <div className="space-y-6">
          {turns.map((turn, index) => (
            <TurnView key={turn.id} turn={turn} newest={index === 0} />
          ))}
          <div className="flex flex-wrap gap-2 border-t border-line pt-4">
            <Button
              look="quiet"
              onClick={() => {
                assistant.newConversation();
              }}
            >
              New conversation
            </Button>
            <Button
              look="quiet"
              data-testid="history-clear"
              onClick={() => {
                field.current?.focus();
                assistant.clearHistory();
              }}
            >
              Clear history
            </Button>
          </div>
        </div>
      )}
    </section>
  );
}
