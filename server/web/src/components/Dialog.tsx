import { useEffect, useId, useRef, type ReactNode } from "react";

/** A question in front of the page. The focus goes in, and back where it came from; Escape closes it. */
export function Dialog({ title, close, children }: { title: string; close: () => void; children: ReactNode }) {
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => {
      element?.close();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      className={
        "m-auto w-[min(30rem,calc(100%-2rem))] rounded-2xl bg-surface p-6 text-ink " +
        "shadow-xl backdrop:bg-[#000000]/50"
      }
    >
      <h2 id={id} className="mb-3 text-xl font-semibold">
        {title}
      </h2>
      {children}
    </dialog>
  );
}
