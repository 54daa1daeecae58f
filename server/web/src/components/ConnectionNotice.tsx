import type { Assistant, Connection } from "../assistant/types";
import { Button } from "./Button";
import { Notice } from "./Notice";
import { useNow } from "./useNow";

/** What is wrong between the page and the server, and what to do; nothing where nothing is. */
export function ConnectionNotice({ assistant, connection }: { assistant: Assistant; connection: Connection }) {
  switch (connection.state) {
    case "connecting":
    case "connected":
    case "signed-out": // has a page of its own
      return null;
    case "loading":
      return (
        <Notice title="Meadowlark is loading its engines." icon="info">
          <p>The first start takes a minute or two, a later one some seconds. This page goes on by itself.</p>
        </Notice>
      );
    case "reconnecting":
      return <Reconnecting assistant={assistant} retryAt={connection.retryAt} attempt={connection.attempt} />;
    case "refused":
      return (
        <Notice
          title="Meadowlark does not let this page in."
          icon="lock"
          look="bad"
          actions={<TryNow assistant={assistant} />}
        >
          <p>{connection.text}</p>
        </Notice>
      );
  }
}

const LONG = 3;
/** Attempts after which it is more than a restart. */

function Reconnecting({ assistant, retryAt, attempt }: { assistant: Assistant; retryAt: number; attempt: number }) {
  const left = Math.ceil((retryAt - useNow(250)) / 1000);
  return (
    <Notice title="Meadowlark cannot be reached." icon="unplugged" actions={<TryNow assistant={assistant} />}>
      <p>{left > 0 ? `Trying again in ${left} s.` : "Trying again…"} What you have said so far is kept here.</p>
      {attempt >= LONG && <p>Check that the server is running and that this device is in the same network.</p>}
    </Notice>
  );
}

function TryNow({ assistant }: { assistant: Assistant }) {
  return (
    <Button
      onClick={() => {
        assistant.retry();
      }}
    >
      Try now
    </Button>
  );
}
