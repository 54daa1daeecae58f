import { useId } from "react";

import type { Access, Assistant, AssistantState, Mode, Settings } from "../assistant/types";
import { Button } from "../components/Button";
import { Choice, Select, Switch } from "../components/Fields";
import { languageName } from "../components/format";
import { WakeWords } from "../components/ListenControls";
import { PageHeading, Section } from "../components/PageHeading";

const MODES: readonly { value: Mode; label: string }[] = [
  { value: "push", label: "Push to talk" },
  { value: "open", label: "Open microphone" },
  { value: "wake", label: "Wake word" },
];

const THEMES: readonly { value: Settings["theme"]; label: string }[] = [
  { value: "system", label: "As the system" },
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];

/** What can be chosen in this browser, each with the sentence that explains it. */
export function SettingsPage({ assistant, state }: { assistant: Assistant; state: AssistantState }) {
  const { settings } = state;
  const change = (changes: Partial<Settings>) => {
    assistant.change(changes);
  };
  return (
    <div className="space-y-8">
      <PageHeading title="Settings">They count for this browser only, at once.</PageHeading>
      <div>
        <Section title="Talking">
          <Choice
            label="How to talk"
            hint="Push to talk listens while you hold the button; an open microphone takes whatever is said; with a wake word it waits for its name."
            options={MODES}
            value={settings.mode}
            change={(mode) => {
              change({ mode });
            }}
          />
          <WakeWords assistant={assistant} state={state} />
          <Switch
            label="Go on after a question"
            hint="When the answer is a question, it listens again without a press or a wake word."
            on={settings.continueConversation}
            change={(continueConversation) => {
              change({ continueConversation });
            }}
          />
          <Select
            label="Language"
            hint="The language you speak; it is also the one of the answers."
            options={languageOptions(state)}
            value={settings.language}
            change={(language) => {
              change({ language });
            }}
          />
        </Section>
        <Section title="Answers">
          <Select
            label="Voice"
            hint="Who speaks the answers: one of the voices that are installed on the server."
            options={voiceOptions(state)}
            value={settings.voice}
            change={(voice) => {
              change({ voice });
            }}
          />
          <Volume
            volume={settings.volume}
            change={(volume) => {
              change({ volume });
            }}
          />
        </Section>
        <MicrophoneSection settings={settings} change={change} />
        <Section title="Looks">
          <Choice
            label="Theme"
            hint="Light or dark; the system’s follows the time of day where the system does."
            options={THEMES}
            value={settings.theme}
            change={(theme) => {
              change({ theme });
            }}
          />
        </Section>
        <Privacy assistant={assistant} settings={settings} change={change} />
        {state.access !== null && <SignedIn assistant={assistant} access={state.access} />}
      </div>
    </div>
  );
}

interface Changing {
  settings: Settings;
  change: (changes: Partial<Settings>) => void;
}

function MicrophoneSection({ settings, change }: Changing) {
  return (
    <Section title="Microphone" hint="The browser does this before any sound leaves it.">
      <Switch
        label="Echo cancellation"
        hint="Takes the answer’s own sound out of the microphone, so that you can interrupt it by speaking."
        on={settings.echoCancellation}
        change={(echoCancellation) => {
          change({ echoCancellation });
        }}
      />
      <Switch
        label="Noise suppression"
        hint="Takes steady noise away, such as a fan. Switch it off with a good microphone in a quiet room."
        on={settings.noiseSuppression}
        change={(noiseSuppression) => {
          change({ noiseSuppression });
        }}
      />
      <Switch
        label="Automatic gain"
        hint="Makes quiet voices louder and loud ones quieter."
        on={settings.autoGainControl}
        change={(autoGainControl) => {
          change({ autoGainControl });
        }}
      />
    </Section>
  );
}

function Privacy({ assistant, settings, change }: Changing & { assistant: Assistant }) {
  return (
    <Section title="Privacy" hint="What is kept, and where.">
      <Switch
        label="Keep history"
        hint="Questions and answers stay in this browser after the page is closed."
        on={settings.keepHistory}
        change={(keepHistory) => {
          change({ keepHistory });
        }}
      />
      <Button
        onClick={() => {
          assistant.clearHistory();
        }}
      >
        Clear the history now
      </Button>
      <dl className="max-w-2xl space-y-4">
        <Kept where="Leaves this browser">
          Sound while the microphone is on, in “Wake word” also what comes before the word; and what you write. All of
          it goes to your own Meadowlark and nowhere else.
        </Kept>
        <Kept where="Stays in this browser">These settings, and the history where it is kept.</Kept>
        <Kept where="Kept by the server">
          The last questions of a conversation for a while; what it remembers about you (see{" "}
          <a href="#/memory" className="underline">
            Memory
          </a>
          ); and a log of what was done in the house. Sound is not stored unless whoever runs the server switched that
          on.
        </Kept>
      </dl>
    </Section>
  );
}

function Kept({ where, children }: { where: string; children: React.ReactNode }) {
  return (
    <div>
      <dt className="font-medium">{where}</dt>
      <dd className="text-soft">{children}</dd>
    </div>
  );
}

const ROLES: Record<Access["role"], string> = {
  guest: "A guest may talk. Nothing is remembered, and nothing is done in the house.",
  user: "A user may talk, act, and has a memory.",
  admin: "An admin may do everything.",
};

function SignedIn({ assistant, access }: { assistant: Assistant; access: Access }) {
  if (!access.asks) {
    return (
      <Section title="Access">
        <p>No token is asked for here: only this machine can reach Meadowlark.</p>
      </Section>
    );
  }
  return (
    <Section title="Access">
      <p>
        Signed in with the token <strong>{access.token}</strong>
        {access.user === "" ? "" : ` of ${access.user}`}. {ROLES[access.role]}
      </p>
      <Button
        onClick={() => {
          assistant.signOut();
        }}
      >
        Sign out
      </Button>
    </Section>
  );
}

function Volume({ volume, change }: { volume: number; change: (volume: number) => void }) {
  const id = useId();
  const percent = Math.round(volume * 100);
  return (
    <div className="space-y-1">
      <label htmlFor={id} className="font-medium">
        Volume
      </label>
      <p id={`${id}-hint`} className="text-soft">
        Of the answers on this page; you can also say “louder” or “volume thirty percent”.
      </p>
      <div className="flex items-center gap-4">
        <input
          id={id}
          type="range"
          min={0}
          max={100}
          step={5}
          value={percent}
          aria-valuetext={`${percent} percent`}
          aria-describedby={`${id}-hint`}
          onChange={(event) => {
            change(event.target.valueAsNumber / 100);
          }}
          className="h-11 min-w-0 flex-1"
        />
        <span aria-hidden="true" className="w-16 text-right whitespace-nowrap tabular-nums">
          {percent} %
        </span>
      </div>
    </div>
  );
}

function languageOptions(state: AssistantState) {
  const tags = new Set(state.voices.flatMap((voice) => voice.languages.map((tag) => tag.split(/[-_]/, 1)[0] ?? tag)));
  if (state.settings.language !== "") tags.add(state.settings.language);
  const known = [...tags].map((tag) => ({ value: tag, label: languageName(tag) }));
  return [{ value: "", label: "As the server has it" }, ...known.toSorted((a, b) => a.label.localeCompare(b.label))];
}

function voiceOptions(state: AssistantState) {
  const names = new Set(state.voices.map((voice) => voice.name));
  if (state.settings.voice !== "") names.add(state.settings.voice);
  return [
    { value: "", label: "The one that fits the language" },
    ...[...names].map((name) => ({ value: name, label: name })),
  ];
}
