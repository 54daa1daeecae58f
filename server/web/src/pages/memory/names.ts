/** The memories as people call them. */

const HOUSEHOLD = "household";

/** Keys in the order in which they are offered: one's own first, the household's always. */
export function memoryKeys(found: readonly string[], user: string): readonly string[] {
  const own = user === "" ? [] : [`person:${user}`];
  const first = [...own, HOUSEHOLD];
  return [...first, ...found.filter((key) => !first.includes(key)).toSorted()];
}

/** "person:anna" as "anna", or "Mine" for whom it is. */
export function memoryName(key: string, user: string): string {
  if (key === HOUSEHOLD) return "Household";
  const [kind, ...rest] = key.split(":");
  const name = rest.join(":");
  switch (kind) {
    case "person":
      return name === user ? "Mine" : name;
    case "guest":
      return `Guest ${name}`;
    case "satellite":
      return `Satellite ${name}`;
    default:
      return key;
  }
}

const ORIGINS: Readonly<Record<string, string>> = {
  said: "asked to remember",
  distilled: "learnt from a conversation",
  evolved: "learnt from a conversation",
  api: "written here",
  imported: "imported",
};

/** Where a note comes from: "learnt from a conversation, by anna, in the kitchen". */
export function sourceWords(source: { origin: string; speaker: string; room: string; satellite: string }): string {
  const where = source.room === "" ? source.satellite : source.room;
  return [
    ORIGINS[source.origin] ?? source.origin,
    source.speaker === "" ? "" : `by ${source.speaker}`,
    where === "" ? "" : `in ${where}`,
  ]
    .filter((part) => part !== "")
    .join(", ");
}
