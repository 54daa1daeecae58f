import { useEffect, useId, useRef, useState, type KeyboardEvent } from "react";

import { editNote, forgetNote, undoNote, type Note } from "../../api/memory";
import { sentence } from "../../api/request";
import { useAnnounce } from "../../components/announce";
import { Button } from "../../components/Button";
import { INPUT_LOOK } from "../../components/Fields";
import { day } from "../../components/format";
import { sourceWords } from "./names";

interface Props {
  memory: string;
  note: Note;
  replaced: (by: Note) => void;
  forgotten: () => void;
}

type Doing = "reading" | "editing" | "forgetting";

/** One note: read, corrected, forgotten. A correction can be taken back; what is forgotten leaves no trace. */
export function NoteItem({ memory, note, replaced, forgotten }: Props) {
  const announce = useAnnounce();
  const item = useRef<HTMLLIElement>(null);
  const [doing, setDoing] = useState<Doing>("reading");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);

  const did = useRef(doing);
  useEffect(() => {
    if (doing === "reading" && did.current !== "reading") item.current?.querySelector("button")?.focus();
    did.current = doing;
  }, [doing]);

  const read = () => {
    setDoing("reading");
    setProblem("");
  };
  const attempt = async (work: () => Promise<void>) => {
    setBusy(true);
    setProblem("");
    try {
      await work();
      setDoing("reading");
    } catch (error) {
      setProblem(sentence(error));
    } finally {
      setBusy(false);
    }
  };
  const save = (content: string, tags: readonly string[]) =>
    attempt(async () => {
      const changes = changesOf(note, content, tags);
      if (changes === null) return;
      replaced(await editNote(memory, note.id, changes));
      announce("The memory is changed.");
    });
  const forget = () =>
    attempt(async () => {
      await forgetNote(memory, note.id);
      announce("It is forgotten.");
      const next = item.current?.nextElementSibling ?? item.current?.previousElementSibling;
      next?.querySelector("button")?.focus();
      forgotten();
    });
  const undo = () =>
    attempt(async () => {
      replaced(await undoNote(memory, note.id));
      announce("The last change is taken back.");
    });

  return (
    <li ref={item} className="space-y-2 py-5">
      {doing === "editing" ? (
        <EditForm note={note} busy={busy} save={save} close={read} />
      ) : (
        <>
          <p dir="auto" className={`text-xl leading-snug ${note.valid_to === null ? "" : "text-soft"}`}>
            {note.content}
          </p>
          <div className="flex flex-wrap items-center justify-between gap-x-6 gap-y-1">
            <Meta note={note} />
            {doing === "reading" && (
              <div className="-ml-4 flex flex-wrap sm:ml-0">
                <Button
                  look="quiet"
                  aria-label={`Edit: ${note.content}`}
                  onClick={() => {
                    setDoing("editing");
                  }}
                >
                  Edit
                </Button>
                {note.version > 1 && (
                  <Button
                    look="quiet"
                    aria-label={`Undo change: ${note.content}`}
                    disabled={busy}
                    onClick={() => void undo()}
                  >
                    Undo change
                  </Button>
                )}
                <Button
                  look="quiet"
                  aria-label={`Forget: ${note.content}`}
                  onClick={() => {
                    setDoing("forgetting");
                  }}
                >
                  Forget
                </Button>
              </div>
            )}
          </div>
        </>
      )}
      {doing === "forgetting" && (
        <div
          role="group"
          aria-label="Forget this memory?"
          className="flex flex-wrap items-center gap-2 rounded-xl bg-sunken p-3"
        >
          <p className="mr-auto">Forget this? It leaves no trace and cannot be brought back.</p>
          <Button look="danger" disabled={busy} onClick={() => void forget()}>
            Forget
          </Button>
          <Button look="quiet" ref={takeFocus} onClick={read}>
            Keep
          </Button>
        </div>
      )}
      {problem !== "" && (
        <p role="alert" className="text-bad">
          {problem}
        </p>
      )}
    </li>
  );
}

/** What was asked for has the focus. */
function takeFocus(element: HTMLElement | null) {
  element?.focus();
}

function Meta({ note }: { note: Note }) {
  return (
    <p className="text-soft">
      {day(note.created * 1000)}, {sourceWords(note.source)}
      {note.valid_to !== null && ` · no longer true since ${day(note.valid_to * 1000)}`}
      {note.tags.length > 0 && ` · ${note.tags.join(", ")}`}
    </p>
  );
}

interface EditProps {
  note: Note;
  busy: boolean;
  save: (content: string, tags: readonly string[]) => Promise<void>;
  close: () => void;
}

function EditForm({ note, busy, save, close }: EditProps) {
  const id = useId();
  const [content, setContent] = useState(note.content);
  const [tags, setTags] = useState(note.tags.join(", "));
  const closeByEscape = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // it does not stop an answer as well
    close();
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (content.trim() !== "") void save(content.trim(), tagsOf(tags));
      }}
      className="space-y-3"
    >
      <div className="space-y-1">
        <label htmlFor={`${id}-content`} className="font-medium">
          Memory
        </label>
        <textarea
          id={`${id}-content`}
          value={content}
          rows={2}
          required
          ref={takeFocus}
          onKeyDown={closeByEscape}
          onChange={(event) => {
            setContent(event.target.value);
          }}
          className={`${INPUT_LOOK} field-sizing-content text-lg`}
        />
      </div>
      <div className="space-y-1">
        <label htmlFor={`${id}-tags`} className="font-medium">
          Tags, with commas between them
        </label>
        <input
          id={`${id}-tags`}
          value={tags}
          onKeyDown={closeByEscape}
          onChange={(event) => {
            setTags(event.target.value);
          }}
          className={INPUT_LOOK}
        />
      </div>
      <div className="flex gap-2">
        <Button type="submit" look="primary" disabled={busy || content.trim() === ""}>
          Save
        </Button>
        <Button look="quiet" onClick={close}>
          Cancel
        </Button>
      </div>
    </form>
  );
}

function tagsOf(text: string): readonly string[] {
  return [...new Set(text.split(",").map((tag) => tag.trim()))].filter((tag) => tag !== "");
}

function changesOf(note: Note, content: string, tags: readonly string[]) {
  const changes = {
    ...(content === note.content ? {} : { content }),
    ...(tags.join("\n") === note.tags.join("\n") ? {} : { tags }),
  };
  return Object.keys(changes).length === 0 ? null : changes;
}
