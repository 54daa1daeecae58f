const PATHS = {
  info: "M12 11v5m0-8.500v.1M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  microphone:
    "M12 15a3.5 3.5 0 0 0 3.5-3.500v-4a3.5 3.5 0 1 0-7 0v4A3.5 3.5 0 0 0 12 15Zm-6.5-4a6.5 6.5 0 0 0 13 0M12 17.500V21",
  muted:
    "m4 4 16 16M8.5 8.500v3a3.5 3.5 0 0 0 5.3 3M15.5 11V7.500a3.5 3.5 0 0 0-6.6-1.600M5.5 11a6.5 6.5 0 0 0 10.3 5.300M18.5 11a6.5 6.5 0 0 1-.5 2.500M12 17.500V21",
  lock: "M7 11V8a5 5 0 0 1 10 0v3M6 11h12v9H6z",
  unplugged: "M9 3v5m6-5v5M6 8h12v3a6 6 0 0 1-9 5.200M12 17v4M4 20 20 4",
  speaker: "M4 10v4h4l5 4V6L8 10H4Zm12.5-1.500a5 5 0 0 1 0 7M19 6a8.5 8.5 0 0 1 0 12",
  bell: "M12 3v1.500m0 0a6 6 0 0 0-6 6V15l-1.5 2.500h15L18 15v-4.500a6 6 0 0 0-6-6Zm-2 15.500a2 2 0 0 0 4 0",
  stop: "M7 7h10v10H7z",
  send: "M5 12h13m-5.5-6 6 6-6 6",
  check: "m5 12.5 4.5 4.500L19 7.5",
  cross: "m6.5 6.5 11 11m0-11-11 11",
  down: "m6 9.5 6 6 6-6",
  search: "m20 20-4.5-4.500M17.5 10.500a7 7 0 1 1-14 0 7 7 0 0 1 14 0Z",
  keyboard: "M3 6.500h18v11H3zM6.5 10h.1m3.5 0h.1m3.5 0h.1m3.5 0h.1M8 14h8",
  tool: "M14.5 6.500a4.5 4.5 0 0 0-5.8 5.800L4 17l3 3 4.7-4.700a4.5 4.5 0 0 0 5.8-5.800l-2.7 2.7-2.5-.5-.5-2.5 2.7-2.700Z",
} as const;

export type IconName = keyof typeof PATHS;

/** A line drawing beside words; it says nothing by itself. */
export function Icon({ name, className = "size-5" }: { name: IconName; className?: string }) {
  return (
    <svg
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.8"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      className={className}
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
