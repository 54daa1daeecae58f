import type { Ref } from "react";

import type { Assistant, AssistantState } from "../assistant/types";
import { SoundCanvas } from "./SoundCanvas";
import type { Theme } from "./theme";
import type { Talk } from "./useTalkKey";

interface Props {
  assistant: Assistant;
  state: AssistantState;
  talk: Talk;
  theme: Theme;
  describedBy: string;
  ref: Ref<HTMLButtonElement>;
}

/** The one big button: the bird's breast. Held or tapped to talk; in the hands-free modes on and off. */
export function TalkButton({ assistant, state, talk, theme, describedBy, ref }: Props) {
  const push = state.settings.mode === "push";
  const takesSound = state.activity === "listening" || state.activity === "hearing";
  const pressed = push ? takesSound : state.handsFree;
  const dim = !push && !state.handsFree;
  return (
    <div className="relative m-[calc(var(--talk)*0.15)] sm:m-[calc(var(--talk)*0.2)] size-(--talk) [--talk:9.5rem] sm:[--talk:13rem]">
      <button
        ref={ref}
        type="button"
        data-testid="talk"
        data-talk=""
        aria-label={push ? "Talk" : "Microphone"}
        aria-pressed={pressed}
        aria-describedby={describedBy}
        onPointerDown={(event) => {
          if (event.button === 0) talk.down();
        }}
        onClick={(event) => {
          if (event.detail !== 0) return; // a pointer, which has said so before
          talk.down();
          talk.up();
        }}
        onContextMenu={(event) => {
          event.preventDefault(); // of a long press
        }}
        className={
          "tap-transparent absolute inset-0 touch-none rounded-full select-none " +
          "transition-[background-color,scale] duration-150 active:scale-97 motion-reduce:transition-none " +
          "focus-visible:outline-offset-8 " +
          (dim ? "bg-lark/70 hover:bg-lark" : "bg-lark hover:bg-lark-hover")
        }
      />
      <SoundCanvas assistant={assistant} activity={state.activity} theme={theme} />
    </div>
  );
}
