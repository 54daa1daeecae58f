/** The mark of the page: the meadowlark's yellow breast with its black V, as on the big button. */
export function Bird({ className = "size-9" }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true" className={className}>
      <circle cx="16" cy="16" r="15" className="fill-lark" />
      <path
        d="M8.5 12 16 20.5 23.5 12"
        fill="none"
        strokeWidth="4.5"
        strokeLinecap="round"
        strokeLinejoin="round"
        className="stroke-on-lark"
      />
    </svg>
  );
}
