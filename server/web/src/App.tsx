import { useCallback, useEffect, useRef, useState, type ReactNode } from "react";

import { useAssistant } from "./assistant";
import type { Assistant, AssistantState, Connection } from "./assistant/types";
import { AnnounceContext } from "./components/announce";
import { Bird } from "./components/Bird";
import { CallCards, useUnseen } from "./components/CallCards";
import { ConnectionNotice } from "./components/ConnectionNotice";
import { LiveRegion, type Said } from "./components/LiveRegion";
import { PAGES, useRoute, type PageName } from "./components/route";
import { SignIn } from "./components/SignIn";
import { useTheme, type Theme } from "./components/theme";
import { useShortcuts } from "./components/useShortcuts";
import { MemoryPage } from "./pages/MemoryPage";
import { SettingsPage } from "./pages/SettingsPage";
import { StatusPage } from "./pages/StatusPage";
import { TalkPage } from "./pages/TalkPage";

/** All of the page: its frame, and what is shown in it. */
export function App({ assistant }: { assistant: Assistant }) {
  const state = useAssistant(assistant);
  const page = useRoute();
  const theme = useTheme(state.settings.theme);
  const main = useRef<HTMLElement>(null);
  const [said, setSaid] = useState<readonly Said[]>([]);
  const announce = useCallback((text: string) => {
    setSaid((before) => [...before.slice(-1), { id: (before.at(-1)?.id ?? 0) + 1, text }]);
  }, []);
  const signedOut = state.connection.state === "signed-out";
  useTitle(page, signedOut, useUnseen(state.notices));
  useShortcuts({
    interrupt: () => {
      const loud = state.notices.findLast(({ rings, sounds }) => rings || sounds);
      if (loud) {
        assistant.dismiss(loud.id);
      } else {
        assistant.interrupt();
      }
    },
  });
  useFocusOnNavigation(signedOut ? "sign-in" : page, main);
  return (
    <div className="mx-auto flex min-h-dvh max-w-6xl flex-col px-4 sm:px-8">
      <a
        href="#main"
        onClick={(event) => {
          event.preventDefault(); // the fragment is the page's address
          main.current?.focus();
        }}
        className="sr-only rounded-lg bg-ink text-ground focus:not-sr-only focus:fixed focus:px-4 focus:py-2.5 focus:top-2 focus:left-2 focus:z-20"
      >
        Skip to the content
      </a>
      <Header page={page} connection={state.connection} />
      <main ref={main} id="main" tabIndex={-1} className="flex-1 py-4 sm:py-10">
        <CallCards
          assistant={assistant}
          notices={state.notices}
          gone={() => {
            main.current?.focus({ preventScroll: true });
          }}
        />
        <div className="mb-6 empty:hidden">
          <ConnectionNotice assistant={assistant} connection={state.connection} />
        </div>
        {state.connection.state === "signed-out" ? (
          <SignIn assistant={assistant} why={state.connection.why} />
        ) : (
          <AnnounceContext value={announce}>
            <Page page={page} assistant={assistant} state={state} theme={theme} />
          </AnnounceContext>
        )}
      </main>
      <LiveRegion state={state} said={said} />
    </div>
  );
}

function Page({
  page,
  ...rest
}: {
  page: PageName;
  assistant: Assistant;
  state: AssistantState;
  theme: Theme;
}): ReactNode {
  switch (page) {
    case "talk":
      return <TalkPage {...rest} />;
    case "memory":
      return <MemoryPage access={rest.state.access} />;
    case "status":
      return <StatusPage />;
    case "settings":
      return <SettingsPage assistant={rest.assistant} state={rest.state} />;
  }
}

function Header({ page, connection }: { page: PageName; connection: Connection }) {
  return (
    <header className="flex flex-wrap items-center gap-x-4 gap-y-1 sm:gap-x-6 pt-3 sm:pt-6">
      <p className="hidden items-center gap-2.5 text-xl font-semibold tracking-tight min-[22.5rem]:flex">
        <Bird /> <span className="sr-only sm:not-sr-only">Meadowlark</span>
      </p>
      <nav aria-label="Pages" className="-mx-2 flex-1 sm:mx-0">
        <ul className="flex justify-between sm:justify-start sm:gap-1">
          {PAGES.map(({ name, title, address }) => (
            <li key={name}>
              <a
                href={address}
                aria-current={name === page ? "page" : undefined}
                className={`relative flex min-h-11 items-center rounded-lg px-2 sm:px-3 ${
                  name === page
                    ? "font-semibold after:absolute after:inset-x-2 after:bottom-1 after:h-1 after:rounded-full after:bg-lark sm:after:inset-x-3"
                    : "text-soft hover:text-ink"
                }`}
              >
                {title}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <ConnectionDot connection={connection} />
    </header>
  );
}

const CONNECTION_WORDS: Record<Connection["state"], string> = {
  connecting: "Connecting…",
  connected: "Connected",
  loading: "Loading…",
  reconnecting: "Not connected",
  "signed-out": "Signed out",
  refused: "Not let in",
};

function ConnectionDot({ connection }: { connection: Connection }) {
  const good = connection.state === "connected";
  const waiting = connection.state === "connecting" || connection.state === "loading";
  return (
    <p
      data-testid="connection"
      data-state={connection.state}
      className={`flex items-center gap-2 text-soft max-sm:sr-only`}
    >
      <span
        aria-hidden="true"
        className={`size-2.5 rounded-full ${good ? "bg-good" : waiting ? "bg-lark motion-safe:animate-pulse" : "bg-bad"}`}
      />
      {CONNECTION_WORDS[connection.state]}
    </p>
  );
}

/** `news` comes first: the browser shows little more of the title than its beginning. */
function useTitle(page: PageName, signedOut: boolean, news: string) {
  const title = signedOut ? "Sign in" : PAGES.find(({ name }) => name === page)?.title;
  useEffect(() => {
    document.title = `${news || (title ?? "")} · Meadowlark`;
  }, [title, news]);
}

/** After a change of page the keyboard and the screen reader go on at its heading; not when the page was just opened. */
function useFocusOnNavigation(page: string, main: { current: HTMLElement | null }) {
  const shown = useRef(page);
  useEffect(() => {
    if (shown.current === page) return;
    shown.current = page;
    window.scrollTo(0, 0);
    main.current?.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
  }, [page, main]);
}
