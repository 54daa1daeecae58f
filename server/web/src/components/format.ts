/** Numbers and times as people read them. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Milliseconds as a person counts them: "0.4 s", "12 s"; below a tenth of a second "80 ms". */
export function seconds(ms: number): string {
  if (ms < 99.5) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 1000)} s`;
}

/** How long something has been so: "3 days", "2 hours", "5 minutes". */
export function span(inSeconds: number): string {
  if (inSeconds < MINUTE) return count(Math.max(0, Math.floor(inSeconds)), "second");
  if (inSeconds < HOUR) return count(Math.floor(inSeconds / MINUTE), "minute");
  if (inSeconds < DAY) return count(Math.floor(inSeconds / HOUR), "hour");
  return count(Math.floor(inSeconds / DAY), "day");
}

/** "1 note", "5 notes". */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** The time of day; with the day where that is not today. */
export function clock(ms: number, now = Date.now()): string {
  const at = new Date(ms);
  const today = at.toDateString() === new Date(now).toDateString();
  return at.toLocaleString([], {
    hour: "2-digit",
    minute: "2-digit",
    ...(today ? {} : { day: "numeric", month: "short" }),
    ...(at.getFullYear() === new Date(now).getFullYear() ? {} : { year: "numeric" }),
  });
}

/** A day: "20 November 2026" in the browser's language. */
export function day(ms: number): string {
  return new Date(ms).toLocaleDateString([], { day: "numeric", month: "long", year: "numeric" });
}

/** "German (de)" for a tag; the tag alone where the browser does not know it. */
export function languageName(tag: string): string {
  try {
    const name = new Intl.DisplayNames(["en"], { type: "language" }).of(tag);
    return name === undefined || name === tag ? tag : `${name} (${tag})`;
  } catch {
    return tag;
  }
}

/** "set_timer" as words: "set timer". */
export function words(name: string): string {
  return name
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replace(/[_\-./]+/g, " ")
    .trim()
    .toLowerCase();
}

/** "hey_jarvis" as it is said: "Hey Jarvis". */
export function wakeWordName(word: string): string {
  return words(word).replace(/(^|\s)\p{L}/gu, (letter) => letter.toUpperCase());
}
