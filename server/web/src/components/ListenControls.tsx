import type { Assistant, AssistantState, Mode } from "../assistant/types";
import { wakeWordName } from "./format";
import { Boxes, Choice, Switch } from "./Fields";
import { wakeWordsOf } from "./activity";

const MODES: readonly { value: Mode; label: string }[] = [
  { value: "push", label: "Push to talk" },
  { value: "open", label: "Open microphone" },
  { value: "wake", label: "Wake word" },
];

const HANDS_FREE: Record<Exclude<Mode, "push">, string> = {
  open: "Whatever is said is a question.",
  wake: "It waits for its name; nothing is answered before.",
};

/** How a turn begins, and what belongs to that. */
export function ListenControls({ assistant, state }: { assistant: Assistant; state: AssistantState }) {
  const { mode } = state.settings;
  return (
    <div className="w-full space-y-4 text-left">
      <Choice
        bare
        label="How to talk"
        options={MODES}
        value={mode}
        change={(chosen) => {
          assistant.change({ mode: chosen });
        }}
      />
      {mode !== "push" && (
        <Switch
          label="Hands-free"
          hint={HANDS_FREE[mode]}
          on={state.handsFree}
          testId="handsfree"
          change={(on) => {
            assistant.setHandsFree(on);
          }}
        />
      )}
      {mode === "wake" && <WakeWords assistant={assistant} state={state} />}
    </div>
  );
}

/** Which words wake it, as far as the server knows them. */
export function WakeWords({ assistant, state }: { assistant: Assistant; state: AssistantState }) {
  if (state.wakeWords.length === 0) {
    return state.connection.state === "connected" ? (
      <p className="text-soft">This server knows no wake words.</p>
    ) : null;
  }
  return (
    <Boxes
      label="Wake words"
      hint="Any of the chosen ones begins a question."
      options={state.wakeWords.map((word) => ({ value: word, label: wakeWordName(word) }))}
      chosen={wakeWordsOf(state)}
      change={(wakeWords) => {
        assistant.change({ wakeWords });
      }}
    />
  );
}
