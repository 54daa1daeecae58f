import type { ReactNode } from "react";

/** The title of a page, which takes the focus after a change of page, and one sentence about it. */
export function PageHeading({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="max-w-2xl space-y-1">
      <h1 tabIndex={-1} className="text-3xl font-semibold tracking-tight sm:text-4xl">
        {title}
      </h1>
      <p className="text-lg text-soft">{children}</p>
    </div>
  );
}

/** A part of a page, with its title beside it where there is room. */
export function Section({ title, hint, children }: { title: string; hint?: ReactNode; children: ReactNode }) {
  return (
    <section
      aria-label={title}
      className="grid gap-x-12 gap-y-4 border-t border-line py-8 lg:grid-cols-[16rem_minmax(0,1fr)]"
    >
      <div className="space-y-1">
        <h2 className="text-xl font-semibold tracking-tight">{title}</h2>
        {hint !== undefined && <p className="text-soft">{hint}</p>}
      </div>
      <div className="min-w-0 space-y-6">{children}</div>
    </section>
  );
}
