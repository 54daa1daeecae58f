import type { Microphone } from "../assistant/types";
import { Notice } from "./Notice";

/** Why there is no microphone, and what to do; nothing where there is one, or none was needed yet. */
export function MicrophoneNotice({ microphone }: { microphone: Microphone }) {
  switch (microphone.state) {
    case "off":
    case "on":
      return null;
    case "asking":
      return (
        <Notice title="Your browser asks whether this page may listen." icon="microphone">
          <p>Choose “Allow” in its window. Sound goes only to your own Meadowlark.</p>
        </Notice>
      );
    case "denied":
      return microphone.forGood ? (
        <Notice title="This page may not use the microphone." icon="muted" look="bad">
          <p>
            The browser will not ask again. Open the site settings (the sign left of the address), set Microphone to
            “Allow”, and reload the page. On a phone, also let the browser itself use the microphone in the system’s
            settings.
          </p>
          <p>Until then you can write your questions.</p>
        </Notice>
      ) : (
        <Notice title="The microphone was not allowed." icon="muted">
          <p>Press the big button again and choose “Allow”, or write your questions.</p>
        </Notice>
      );
    case "insecure":
      return (
        <Notice title="Browsers give the microphone only to secure pages." icon="lock">
          <p>
            Open this page by <strong>https://</strong>, or on the machine where Meadowlark runs by{" "}
            <strong className="break-all">{localAddress()}</strong>. Writing works here too, and answers are spoken.
          </p>
        </Notice>
      );
    case "missing":
      return (
        <Notice title="There is no microphone." icon="muted">
          <p>Plug one in, or connect a headset, and press the big button again. You can always write.</p>
        </Notice>
      );
    case "failed":
      return (
        <Notice title="The microphone cannot be used." icon="muted" look="bad">
          <p>{microphone.text}</p>
          <p>Close other programs that use it, such as a call, and press the big button again.</p>
        </Notice>
      );
  }
}

function localAddress(): string {
  const { port } = window.location;
  return `http://localhost${port === "" ? "" : `:${port}`}`;
}
