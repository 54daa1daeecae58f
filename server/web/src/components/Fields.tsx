/** Parts of forms, each with the sentence that explains it. */

import { useId, type ReactNode } from "react";

export const INPUT_LOOK =
  "w-full min-h-11 rounded-lg border border-edge bg-surface px-3 py-2 text-base text-ink disabled:opacity-60";

interface Explained {
  label: string;
  /** One sentence. */
  hint?: ReactNode;
}

export function Switch({
  label,
  hint,
  on,
  change,
  testId,
  disabled = false,
}: Explained & { on: boolean; change: (on: boolean) => void; testId?: string; disabled?: boolean }) {
  const id = useId();
  return (
    <div className="flex items-start justify-between gap-4">
      <div className="min-w-0">
        <span id={`${id}-label`} className="font-medium">
          {label}
        </span>
        {hint !== undefined && (
          <p id={`${id}-hint`} className="text-soft">
            {hint}
          </p>
        )}
      </div>
      <button
        type="button"
        role="switch"
        aria-checked={on}
        aria-labelledby={`${id}-label`}
        aria-describedby={hint === undefined ? undefined : `${id}-hint`}
        data-testid={testId}
        disabled={disabled}
        onClick={() => {
          change(!on);
        }}
        className={`relative mt-0.5 h-8 w-14 shrink-0 rounded-full border transition-colors disabled:opacity-60 ${
          on ? "border-ink bg-lark" : "border-edge bg-sunken"
        }`}
      >
        <span
          className={`absolute top-1/2 left-0 size-6 -translate-y-1/2 rounded-full transition-transform motion-reduce:transition-none ${
            on ? "translate-x-7 bg-on-lark" : "translate-x-0.5 bg-edge"
          }`}
        />
      </button>
    </div>
  );
}

/** One of a few, all of them in sight. */
export function Choice<T extends string>({
  label,
  hint,
  options,
  value,
  change,
  bare = false,
}: Explained & {
  options: readonly { value: T; label: string }[];
  value: T;
  change: (value: T) => void;
  /** The label is for screen readers only. */
  bare?: boolean;
}) {
  const id = useId();
  return (
    <fieldset aria-describedby={hint === undefined ? undefined : `${id}-hint`} className="min-w-0">
      <legend className={bare ? "sr-only" : "font-medium"}>{label}</legend>
      {hint !== undefined && (
        <p id={`${id}-hint`} className="mb-2 text-soft">
          {hint}
        </p>
      )}
      <div className="flex gap-1 rounded-xl bg-sunken p-1">
        {options.map((option) => (
          <label
            key={option.value}
            className={
              "flex min-h-10 min-w-0 flex-auto items-center justify-center rounded-lg px-2 py-1.5 text-center leading-tight " +
              "has-focus-visible:outline-3 has-focus-visible:outline-offset-2 " +
              (option.value === value ? "bg-raised font-semibold shadow-sm" : "text-soft hover:text-ink")
            }
          >
            <input
              type="radio"
              name={id}
              value={option.value}
              checked={option.value === value}
              onChange={() => {
                change(option.value);
              }}
              className="sr-only"
            />
            {option.label}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

/** One of many. */
export function Select({
  label,
  hint,
  options,
  value,
  change,
}: Explained & {
  options: readonly { value: string; label: string }[];
  value: string;
  change: (value: string) => void;
}) {
  const id = useId();
  return (
    <div className="space-y-1">
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      {hint !== undefined && (
        <p id={`${id}-hint`} className="text-soft">
          {hint}
        </p>
      )}
      <select
        id={id}
        value={value}
        aria-describedby={hint === undefined ? undefined : `${id}-hint`}
        onChange={(event) => {
          change(event.target.value);
        }}
        className={INPUT_LOOK}
      >
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
    </div>
  );
}

/** Some of a few. */
export function Boxes({
  label,
  hint,
  options,
  chosen,
  change,
}: Explained & {
  options: readonly { value: string; label: string }[];
  chosen: readonly string[];
  change: (chosen: readonly string[]) => void;
}) {
  const id = useId();
  return (
    <fieldset aria-describedby={hint === undefined ? undefined : `${id}-hint`} className="min-w-0">
      <legend className="font-medium">{label}</legend>
      {hint !== undefined && (
        <p id={`${id}-hint`} className="text-soft">
          {hint}
        </p>
      )}
      <div className="flex flex-wrap gap-x-5">
        {options.map((option) => (
          <label key={option.value} className="flex min-h-11 items-center gap-2">
            <input
              type="checkbox"
              checked={chosen.includes(option.value)}
              onChange={(event) => {
                change(
                  event.target.checked ? [...chosen, option.value] : chosen.filter((value) => value !== option.value),
                );
              }}
              className="size-5"
            />
            {option.label}
          </label>
        ))}
      </div>
    </fieldset>
  );
}
