import { useCallback, useId, useState, type SyntheticEvent } from "react";

import { addNote, listNotes, searchNotes, type Note, type Page } from "../../api/memory";
import { sentence } from "../../api/request";
import { useAnnounce } from "../../components/announce";
import { Button } from "../../components/Button";
import { INPUT_LOOK } from "../../components/Fields";
import { Icon } from "../../components/Icon";
import { Notice } from "../../components/Notice";
import { useLoaded } from "../../components/useLoaded";
import { NoteItem } from "./NoteItem";

interface Props {
  memory: string;
  /** The number of notes is another one. */
  changed: () => void;
}

/** The notes of one memory: found, added, and each of them to change. */
export function Notes({ memory, changed }: Props) {
  const [words, setWords] = useState("");
  const load = useCallback(
    async (signal: AbortSignal): Promise<Page> =>
      words === "" ? listNotes(memory, null, signal) : { notes: await searchNotes(memory, words, signal), after: null },
    [memory, words],
  );
  const { value: page, problem, reload } = useLoaded(load);
  return (
    <section aria-label="Memories" className="space-y-6">
      <div className="grid gap-4 lg:grid-cols-2">
        <Search search={setWords} />
        <Add
          memory={memory}
          added={() => {
            reload();
            changed();
          }}
        />
      </div>
      {problem !== "" && (
        <Notice title="The memories cannot be read." look="bad" actions={<Button onClick={reload}>Try again</Button>}>
          <p>{problem}</p>
        </Notice>
      )}
      {page === null ? (
        problem === "" && <p className="text-lg text-soft">{words === "" ? "Asking the memory…" : "Looking…"}</p>
      ) : page.notes.length === 0 ? (
        <Nothing words={words} />
      ) : (
        <NoteList memory={memory} first={page} found={words} changed={changed} />
      )}
    </section>
  );
}

function Nothing({ words }: { words: string }) {
  return words === "" ? (
    <p className="max-w-prose border-t border-line pt-6 text-xl">
      Nothing yet. Say “Remember that the spare key is under the blue pot”, or write it above.
    </p>
  ) : (
    <p className="border-t border-line pt-6 text-xl">Nothing about “{words}”. Try other words.</p>
  );
}

function Search({ search }: { search: (words: string) => void }) {
  const id = useId();
  const [text, setText] = useState("");
  const send = (event: SyntheticEvent) => {
    event.preventDefault();
    search(text.trim());
  };
  return (
    <form role="search" onSubmit={send} className="space-y-1">
      <label htmlFor={id} className="font-medium">
        Search
      </label>
      <div className="flex gap-2">
        <input
          id={id}
          type="search"
          value={text}
          maxLength={500}
          placeholder="What do you know about…"
          onChange={(event) => {
            setText(event.target.value);
            if (event.target.value === "") search("");
          }}
          className={INPUT_LOOK}
        />
        <Button type="submit" aria-label="Search" className="shrink-0 px-3">
          <Icon name="search" />
        </Button>
      </div>
    </form>
  );
}

function Add({ memory, added }: { memory: string; added: () => void }) {
  const id = useId();
  const announce = useAnnounce();
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async () => {
    setBusy(true);
    try {
      await addNote(memory, text.trim());
      setText("");
      setProblem("");
      announce("It is remembered.");
      added();
    } catch (error) {
      setProblem(sentence(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() !== "" && !busy) void send();
      }}
      className="space-y-1"
    >
      <label htmlFor={id} className="font-medium">
        Remember something
      </label>
      <div className="flex gap-2">
        <input
          id={id}
          value={text}
          placeholder="The bins go out on Tuesday"
          aria-invalid={problem !== ""}
          aria-describedby={problem === "" ? undefined : `${id}-problem`}
          onChange={(event) => {
            setText(event.target.value);
            setProblem("");
          }}
          className={INPUT_LOOK}
        />
        <Button type="submit" look="primary" disabled={busy || text.trim() === ""} className="shrink-0">
          Add
        </Button>
      </div>
      {problem !== "" && (
        <p id={`${id}-problem`} role="alert" className="text-bad">
          {problem}
        </p>
      )}
    </form>
  );
}

interface ListProps extends Props {
  first: Page;
  /** What was looked for; empty for all. */
  found: string;
}

/** A note and the place that it has in the list, also when it is corrected and has another id. */
interface Line {
  key: string;
  note: Note;
}

function lineOf(note: Note): Line {
  return { key: note.id, note };
}

function NoteList({ memory, first, found, changed }: ListProps) {
  const [shown, setShown] = useState(first);
  const [lines, setLines] = useState(() => first.notes.map(lineOf));
  const [after, setAfter] = useState(first.after);
  if (shown !== first) {
    setShown(first);
    setLines(first.notes.map(lineOf));
    setAfter(first.after);
  }
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const more = async () => {
    setBusy(true);
    try {
      const page = await listNotes(memory, after);
      setLines((before) => [...before, ...page.notes.map(lineOf)]);
      setAfter(page.after);
      setProblem("");
    } catch (error) {
      setProblem(sentence(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="space-y-4">
      <h2 className="sr-only">{found === "" ? "All memories" : `Memories about ${found}`}</h2>
      <ul className="divide-y divide-line border-t border-line">
        {lines.map(({ key, note }) => (
          <NoteItem
            key={key}
            memory={memory}
            note={note}
            replaced={(by: Note) => {
              setLines((before) => before.map((line) => (line.key === key ? { key, note: by } : line)));
            }}
            forgotten={() => {
              setLines((before) => before.filter((line) => line.key !== key));
              changed();
            }}
          />
        ))}
      </ul>
      {problem !== "" && (
        <p role="alert" className="text-bad">
          {problem}
        </p>
      )}
      {after !== null && (
        <Button disabled={busy} onClick={() => void more()}>
          Show more
        </Button>
      )}
    </div>
  );
}
