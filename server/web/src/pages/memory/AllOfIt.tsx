import { useId, useState } from "react";

import { exportAddress, forgetAbout, importNotes, type Imported } from "../../api/memory";
import { sentence } from "../../api/request";
import { useAnnounce } from "../../components/announce";
import { Button, buttonLook } from "../../components/Button";
import { Dialog } from "../../components/Dialog";
import { INPUT_LOOK } from "../../components/Fields";
import { count } from "../../components/format";
import { Section } from "../../components/PageHeading";

interface Props {
  memory: string;
  /** As people call it. */
  name: string;
  /** There are other notes now. */
  changed: () => void;
}

/** What is done with a whole memory: take it along, bring one, forget much of it. */
export function AllOfIt({ memory, name, changed }: Props) {
  return (
    <div>
      <Section title="Take along" hint="A file that another Meadowlark can read, or you.">
        <TakeAlong memory={memory} changed={changed} />
      </Section>
      <Section title="Forget" hint="What is forgotten leaves no trace on the server’s disk.">
        <ForgetMany memory={memory} name={name} changed={changed} />
      </Section>
    </div>
  );
}

function TakeAlong({ memory, changed }: Omit<Props, "name">) {
  const id = useId();
  const announce = useAnnounce();
  const [said, setSaid] = useState("");
  const [bad, setBad] = useState(false);
  const [busy, setBusy] = useState(false);
  const bring = async (file: File) => {
    setBusy(true);
    setBad(false);
    setSaid(`Reading ${file.name}…`);
    try {
      const told = importedWords(await importNotes(memory, file));
      setSaid(told);
      announce(told);
      changed();
    } catch (error) {
      setSaid(sentence(error));
      setBad(true);
      announce(sentence(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <div className="flex flex-wrap gap-2">
        <a href={exportAddress(memory)} download="meadowlark-memory.jsonl" className={buttonLook()}>
          Export
        </a>
        <label
          htmlFor={id}
          className={`${buttonLook()} has-focus-visible:outline-3 has-focus-visible:outline-offset-2 ${busy ? "opacity-60" : ""}`}
        >
          Import a file
          <input
            id={id}
            type="file"
            accept=".jsonl,.ndjson,.json"
            disabled={busy}
            onChange={(event) => {
              const file = event.target.files?.[0];
              event.target.value = ""; // the same file again is a change, too
              if (file !== undefined) void bring(file);
            }}
            className="sr-only"
          />
        </label>
      </div>
      {said !== "" && <p className={bad ? "text-bad" : ""}>{said}</p>}
    </>
  );
}

/** What became of a file, as a sentence. */
export function importedWords({ notes, known, forgotten, secret }: Imported): string {
  const apart = [
    known > 0 ? `${count(known, "was", "were")} here already` : "",
    forgotten > 0
      ? `${count(forgotten, "was", "were")} forgotten here and ${forgotten === 1 ? "stays" : "stay"} so`
      : "",
    secret > 0 ? `${count(secret, "holds", "hold")} a code or the like, which is not kept` : "",
  ].filter((part) => part !== "");
  return (
    [notes === 0 ? "Nothing is new" : `${count(notes, "memory is", "memories are")} new`, ...apart].join("; ") + "."
  );
}

function ForgetMany({ memory, name, changed }: Props) {
  const id = useId();
  const announce = useAnnounce();
  const [words, setWords] = useState("");
  const [asking, setAsking] = useState<"words" | "everything" | null>(null);
  const [said, setSaid] = useState("");
  const done = (forgotten: number) => {
    const told =
      forgotten === 0 ? "There was nothing to forget." : `${count(forgotten, "memory is", "memories are")} forgotten.`;
    setAsking(null);
    setWords("");
    setSaid(told);
    announce(told);
    if (forgotten > 0) changed();
  };
  return (
    <>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (words.trim() !== "") setAsking("words");
        }}
        className="space-y-1"
      >
        <label htmlFor={id} className="font-medium">
          All that has these words
        </label>
        <div className="flex flex-wrap gap-2">
          <input
            id={id}
            value={words}
            maxLength={500}
            placeholder="old flat"
            onChange={(event) => {
              setWords(event.target.value);
            }}
            className={`${INPUT_LOOK} flex-1 basis-40`}
          />
          <Button type="submit" disabled={words.trim() === ""}>
            Forget these
          </Button>
        </div>
      </form>
      <Button
        look="danger"
        onClick={() => {
          setAsking("everything");
        }}
      >
        Forget everything
      </Button>
      {said !== "" && <p>{said}</p>}
      {asking !== null && (
        <ForgetDialog
          memory={memory}
          name={name}
          words={asking === "words" ? words.trim() : null}
          done={done}
          close={() => {
            setAsking(null);
          }}
        />
      )}
    </>
  );
}

const CONFIRMATION = "forget everything";

interface DialogProps {
  memory: string;
  name: string;
  /** Null for everything, which has to be typed. */
  words: string | null;
  done: (forgotten: number) => void;
  close: () => void;
}

function ForgetDialog({ memory, name, words, done, close }: DialogProps) {
  const id = useId();
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const sure = words !== null || typed.trim().toLowerCase() === CONFIRMATION;
  const forget = async () => {
    setBusy(true);
    try {
      done(await forgetAbout(memory, words));
    } catch (error) {
      setProblem(sentence(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={words === null ? "Forget everything?" : `Forget all about “${words}”?`} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (sure && !busy) void forget();
        }}
        className="space-y-4"
      >
        <p>
          {words === null
            ? `All memories of “${name}” will be gone. They cannot be brought back; export them first to keep a copy.`
            : `Every memory of “${name}” that has all of these words will be gone, and cannot be brought back.`}
        </p>
        {words === null && (
          <div className="space-y-1">
            <label htmlFor={id} className="font-medium">
              Type “{CONFIRMATION}”
            </label>
            <input
              id={id}
              value={typed}
              autoComplete="off"
              onChange={(event) => {
                setTyped(event.target.value);
              }}
              className={INPUT_LOOK}
            />
          </div>
        )}
        {problem !== "" && (
          <p role="alert" className="text-bad">
            {problem}
          </p>
        )}
        <div className="flex flex-wrap gap-2">
          <Button type="submit" look="danger" disabled={!sure || busy}>
            Forget
          </Button>
          <Button onClick={close}>Keep</Button>
        </div>
      </form>
    </Dialog>
  );
}
