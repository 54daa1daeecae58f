const IDEAS: readonly { say: string; why: string }[] = [
  { say: "What time is it?", why: "Answered at once, without a language model" },
  { say: "How many days until Christmas?", why: "Days, dates, sums and units need no network" },
  { say: "Remember that the spare key is under the blue pot", why: "Later ask: Where is the spare key?" },
];

/** For whoever is here for the first time: three things to say. */
export function FirstWords({ say, disabled }: { say: (text: string) => void; disabled: boolean }) {
  return (
    <section aria-labelledby="first-words" className="space-y-3">
      <div className="flex items-end gap-6">
        <div className="min-w-0 flex-1 space-y-1">
          <h2 id="first-words" className="text-2xl font-semibold tracking-tight">
            Say hello to Meadowlark
          </h2>
          <p className="text-lg text-soft">
            It listens, thinks and answers on your own machine. Three things to say first, or to press:
          </p>
        </div>
        <img src="meadowlark.svg" alt="" className="-mb-[0.82rem] hidden size-28 shrink-0 sm:block" />
      </div>
      <ul className="divide-y divide-line border-y border-line">
        {IDEAS.map((idea) => (
          <li key={idea.say}>
            <button
              type="button"
              disabled={disabled}
              onClick={() => {
                say(idea.say);
              }}
              className="group w-full rounded-md py-4 text-left disabled:opacity-60"
            >
              <span className="block text-xl leading-snug decoration-lark decoration-3 underline-offset-4 group-hover:underline group-disabled:no-underline">
                “{idea.say}”
              </span>
              <span className="block text-soft">{idea.why}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
