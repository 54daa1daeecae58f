import type { ReactNode } from "react";

import { Icon, type IconName } from "./Icon";

interface Props {
  /** What is the matter, as a sentence. */
  title: string;
  /** What to do about it. */
  children?: ReactNode;
  actions?: ReactNode;
  look?: "calm" | "bad";
  icon?: IconName;
  testId?: string;
}

/** A message that says what is the matter and what to do. */
export function Notice({ title, children, actions, look = "calm", icon = "info", testId }: Props) {
  const colours = look === "bad" ? "bg-bad-wash" : "bg-lark-wash";
  return (
    <div className={`animate-rise flex gap-3 rounded-xl p-4 text-left ${colours}`} data-testid={testId}>
      <Icon name={icon} className={`mt-0.5 size-5 shrink-0 ${look === "bad" ? "text-bad" : "text-lark-text"}`} />
      <div className="min-w-0 flex-1 space-y-2">
        <p className="leading-snug font-semibold">{title}</p>
        {children !== undefined && <div className="space-y-2 text-base leading-normal">{children}</div>}
        {actions !== undefined && <div className="flex flex-wrap gap-2 pt-1">{actions}</div>}
      </div>
    </div>
  );
}
