import { Icon } from "./Icon";
import { useMedia } from "./media";

const KEYS: readonly { key: string; what: string }[] = [
  { key: "Space", what: "hold or tap to talk" },
  { key: "Esc", what: "stop the answer, or a timer" },
  { key: "/", what: "write a question" },
];

/** What the keys do, for whoever has some. */
export function Keys() {
  const roomy = useMedia("(min-width: 64rem)");
  return (
    <details open={roomy} className="w-full text-left text-soft pointer-coarse:hidden">
      <summary className="mx-auto flex min-h-10 w-fit list-none items-center gap-2 rounded-md px-2 hover:text-ink">
        <Icon name="keyboard" className="size-5" /> Keys
      </summary>
      <dl className="mx-auto w-fit space-y-1.5 pt-1">
        {KEYS.map(({ key, what }) => (
          <div key={key} className="flex items-center gap-3">
            <dt className="w-20 text-right whitespace-nowrap">
              <kbd className="rounded-md border border-edge bg-surface px-2 py-0.5 font-sans text-base text-ink">
                {key}
              </kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
