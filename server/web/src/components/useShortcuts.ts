import { useEffect, useRef } from "react";

/** What the keys do; without `talk` Space is the browser's. */
export interface Shortcuts {
  talk?: { down: () => void; up: () => void };
  interrupt?: () => void;
  write?: () => void;
}

const TEXT_FIELDS = "input:not([type=radio], [type=checkbox], [type=range], [type=file]), textarea, select";
const USES_SPACE = "button, input, summary, audio, [role=switch], [role=slider]";

export function useShortcuts(shortcuts: Shortcuts): void {
  const newest = useRef(shortcuts);
  useEffect(() => {
    newest.current = shortcuts;
  });
  useEffect(() => {
    let pointed = false; // whether the focus is where somebody clicked, rather than where the keys have led it
    const pointerDown = () => {
      pointed = true;
    };
    const keyDown = (event: KeyboardEvent) => {
      if (event.key === "Tab" || event.key.startsWith("Arrow")) pointed = false;
      if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
      if (document.querySelector("dialog[open]") !== null) return;
      const { talk, interrupt, write } = newest.current;
      if (event.key === "Escape") {
        interrupt?.();
      } else if (event.key === "/" && write !== undefined && !isIn(event, TEXT_FIELDS)) {
        event.preventDefault();
        write();
      } else if (event.code === "Space" && talk !== undefined && !takesSpace(event, pointed)) {
        event.preventDefault();
        if (!event.repeat) talk.down();
      }
    };
    const keyUp = (event: KeyboardEvent) => {
      const { talk } = newest.current;
      if (event.code !== "Space" || talk === undefined) return;
      if (!takesSpace(event, pointed)) event.preventDefault(); // or some browsers click the button
      talk.up();
    };
    document.addEventListener("pointerdown", pointerDown);
    document.addEventListener("keydown", keyDown);
    document.addEventListener("keyup", keyUp);
    return () => {
      document.removeEventListener("pointerdown", pointerDown);
      document.removeEventListener("keydown", keyDown);
      document.removeEventListener("keyup", keyUp);
    };
  }, []);
}

/** Whether Space does something else where the focus is: all controls but the big button, unless they were clicked. */
function takesSpace(event: KeyboardEvent, pointed: boolean): boolean {
  if (isIn(event, "[data-talk]")) return false;
  return isIn(event, TEXT_FIELDS) || (!pointed && isIn(event, USES_SPACE));
}

function isIn(event: KeyboardEvent, selector: string): boolean {
  return event.target instanceof Element && event.target.closest(selector) !== null;
}
