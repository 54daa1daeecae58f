import { useCallback, useState } from "react";

import { listMemories } from "../api/memory";
import type { Access } from "../assistant/types";
import { Button } from "../components/Button";
import { Choice, Select } from "../components/Fields";
import { count } from "../components/format";
import { Notice } from "../components/Notice";
import { PageHeading } from "../components/PageHeading";
import { useLoaded } from "../components/useLoaded";
import { AllOfIt } from "./memory/AllOfIt";
import { memoryKeys, memoryName } from "./memory/names";
import { Notes } from "./memory/Notes";

/** What Meadowlark knows: to read, correct, take along and forget. */
export function MemoryPage({ access }: { access: Access | null }) {
  return (
    <div className="space-y-8">
      <PageHeading title="Memory">What Meadowlark remembers, in plain sentences. It is yours to change.</PageHeading>
      {access?.role === "guest" ? (
        <Notice title="Nothing is remembered about guests.">
          <p>You are signed in as a guest: what you say is forgotten when the conversation ends.</p>
        </Notice>
      ) : (
        <Memories user={access?.user ?? ""} />
      )}
    </div>
  );
}

const FEW = 3;
/** Memories that are offered beside each other; more are a list. */

function Memories({ user }: { user: string }) {
  const { value: counts, problem, reload } = useLoaded(listMemories);
  const [chosen, setChosen] = useState<string | null>(null);
  const [generation, setGeneration] = useState(0);
  const again = useCallback(() => {
    setGeneration((before) => before + 1);
    reload();
  }, [reload]);
  if (counts === null) {
    return problem === "" ? (
      <p className="text-lg text-soft">Asking the memory…</p>
    ) : (
      <Trouble text={problem} again={again} />
    );
  }
  const keys = memoryKeys(Object.keys(counts), user);
  const memory = chosen !== null && keys.includes(chosen) ? chosen : (keys[0] ?? "household");
  const options = keys.map((key) => ({
    value: key,
    label:
      keys.length > FEW
        ? `${memoryName(key, user)}: ${count(counts[key] ?? 0, "memory", "memories")}`
        : memoryName(key, user),
  }));
  return (
    <div className="space-y-8">
      {keys.length > 1 && (
        <div className="max-w-xl">
          {keys.length > FEW ? (
            <Select label="Whose memory" options={options} value={memory} change={setChosen} />
          ) : (
            <Choice label="Whose memory" bare options={options} value={memory} change={setChosen} />
          )}
        </div>
      )}
      <Notes key={`${memory} ${generation}`} memory={memory} changed={reload} />
      <AllOfIt key={memory} memory={memory} name={memoryName(memory, user)} changed={again} />
    </div>
  );
}

function Trouble({ text, again }: { text: string; again: () => void }) {
  return (
    <Notice title="The memory cannot be read." look="bad" actions={<Button onClick={again}>Try again</Button>}>
      <p>{text}</p>
    </Notice>
  );
}
