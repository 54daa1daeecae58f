import type { AssistantState } from "../assistant/types";
import { activityWords } from "./activity";

/** What is going on just now. The live region tells what was heard and answered; this would only interrupt it. */
export function ActivityLine({ state }: { state: AssistantState }) {
  return (
    <p
      role="status"
      aria-live="off"
      data-testid="state"
      data-activity={state.activity}
      className="text-2xl leading-tight font-semibold tracking-tight text-balance sm:text-3xl"
    >
      {activityWords(state)}
    </p>
  );
}
