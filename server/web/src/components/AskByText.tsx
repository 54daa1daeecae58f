import { useId, useState, type Ref, type SyntheticEvent } from "react";

import { Icon } from "./Icon";

interface Props {
  say: (text: string) => void;
  disabled: boolean;
  ref: Ref<HTMLInputElement>;
}

const LONGEST = 4000;
/** Characters; the server says where its own bound is lower. */

/** A question in writing. On a phone it stays at the lower edge, below the thumb. */
export function AskByText({ say, disabled, ref }: Props) {
  const id = useId();
  const [text, setText] = useState("");
  const send = (event: SyntheticEvent) => {
    event.preventDefault();
    if (text.trim() === "" || disabled) return;
    say(text.trim());
    setText("");
  };
  return (
    <form
      onSubmit={send}
      className={
        "fixed inset-x-0 bottom-0 z-10 flex gap-2 border-t border-line bg-ground px-4 pt-3 " +
        "pb-[calc(0.75rem+env(safe-area-inset-bottom))] lg:static lg:border-0 lg:p-0"
      }
    >
      <label htmlFor={id} className="sr-only">
        Write a question
      </label>
      <input
        id={id}
        ref={ref}
        data-testid="text"
        value={text}
        maxLength={LONGEST}
        autoComplete="off"
        enterKeyHint="send"
        placeholder="Or write a question"
        onChange={(event) => {
          setText(event.target.value);
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape" && text !== "") {
            event.preventDefault();
            setText("");
          }
        }}
        className="min-h-12 min-w-0 flex-1 rounded-xl border border-edge bg-surface px-4 text-lg"
      />
      <button
        type="submit"
        data-testid="send"
        aria-label="Send"
        disabled={disabled || text.trim() === ""}
        className={
          "grid size-12 shrink-0 place-items-center rounded-xl bg-lark text-on-lark transition-colors " +
          "hover:bg-lark-hover disabled:bg-sunken disabled:text-soft"
        }
      >
        <Icon name="send" />
      </button>
    </form>
  );
}
