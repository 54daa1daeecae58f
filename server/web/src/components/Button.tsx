import type { ComponentProps } from "react";

type Look = "primary" | "plain" | "quiet" | "danger";

const LOOKS: Record<Look, string> = {
  primary: "bg-lark text-on-lark hover:bg-lark-hover font-semibold",
  plain: "bg-surface text-ink border border-edge hover:bg-sunken",
  quiet: "text-ink hover:bg-sunken",
  danger: "text-bad border border-bad hover:bg-bad-wash",
};

const SHAPE =
  "inline-flex min-h-11 items-center justify-center gap-2 rounded-lg px-4 py-2 text-base leading-tight " +
  "transition-colors disabled:opacity-60";

/** The looks of a button, also for links that lie beside buttons. */
export function buttonLook(look: Look = "plain"): string {
  return `${SHAPE} ${LOOKS[look]}`;
}

export function Button({ look = "plain", className = "", ...rest }: ComponentProps<"button"> & { look?: Look }) {
  return <button type="button" className={`${buttonLook(look)} ${className}`} {...rest} />;
}
