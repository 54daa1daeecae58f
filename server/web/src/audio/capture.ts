/** The microphone: asked for, opened, read in frames of 20 ms, and let go of. */

import type { Microphone, Settings } from "../assistant/types";
import workletUrl from "./capture-worklet.ts?worker&url";
import { MICROPHONE_RATE } from "./pcm";

/** Kept of what came last: a first word that was begun before its key, or between two turns of an open microphone. */
const KEPT_FRAMES = 24;

/** An unused microphone stays open so long: the next question is likely, and opening takes a moment. */
export const REST_MS = 30_000;

export type Processing = Pick<Settings, "echoCancellation" | "noiseSuppression" | "autoGainControl">;

export interface Capture {
  /** Open it, or go on with it. True once frames come; false says that `onState` told why not. */
  open(processing: Processing): Promise<boolean>;
  /** It is not used now: it closes after REST_MS, unless it is opened again. So does one that is not allowed yet. */
  rest(): void;
  /** Let go of it: the browser's recording mark goes out. */
  close(): void;
  /** The newest frames, the oldest first. */
  recent(count: number): ArrayBuffer[];
  /** What was heard up to now is not wanted: it was the answer's own sound. */
  forget(): void;
}

interface Opened {
  stream: MediaStream;
  context: AudioContext;
}

/** The microphone. `onFrame` gets 16 kHz mono s16le while it is open. */
export function createCapture(onState: (state: Microphone) => void, onFrame: (pcm: ArrayBuffer) => void): Capture {
  let opened: Opened | null = null;
  let opening: Promise<boolean> | null = null;
  let wish = 0; // the number of the newest opening; an older one is let go of when it arrives
  let resting: ReturnType<typeof setTimeout> | undefined;
  let kept: ArrayBuffer[] = [];
  let hope = new AbortController(); // ends what waits for another decision or device

  function close(state: Microphone = { state: "off" }) {
    wish += 1;
    clearTimeout(resting);
    kept = [];
    if (opened) {
      release(opened);
    }
    opened = opening = null;
    onState(state);
    hope.abort();
    if (state.state === "denied" || state.state === "missing") {
      hope = new AbortController();
      void whenPossible(state.state, hope.signal, close);
    }
  }

  async function ask(processing: Processing): Promise<boolean> {
    wish += 1;
    const mine = wish;
    hope.abort();
    onState({ state: "asking" });
    try {
      const stream = await askForStream(processing);
      const found = await read(stream, (pcm) => {
        kept = [...kept, pcm].slice(-KEPT_FRAMES);
        onFrame(pcm);
      });
      if (mine !== wish) {
        release(found);
        return false;
      }
      opened = found;
      const track = stream.getAudioTracks()[0];
      track?.addEventListener("ended", () => {
        if (mine === wish) {
          void whyEnded().then((state) => {
            if (mine === wish) {
              close(state);
            }
          });
        }
      });
      onState({ state: "on", label: track?.label ?? "" });
      return true;
    } catch (error) {
      const state = await reasonOf(error);
      if (mine === wish) {
        close(state);
      }
      return false;
    }
  }

  return {
    open(processing) {
      clearTimeout(resting);
      if (opened) {
        void opened.context.resume().catch(() => undefined);
        return Promise.resolve(true);
      }
      if (!opening) {
        const mine = ask(processing).finally(() => {
          opening = opening === mine ? null : opening;
        });
        opening = mine;
      }
      return opening;
    },
    rest() {
      clearTimeout(resting);
      resting = opened || opening ? setTimeout(close, REST_MS) : undefined;
    },
    close() {
      close();
    },
    recent: (count) => (count > 0 ? kept.slice(-count) : []),
    forget() {
      kept = [];
    },
  };
}

async function askForStream(processing: Processing): Promise<MediaStream> {
  const { echoCancellation, noiseSuppression, autoGainControl } = processing;
  return devices().getUserMedia({
    audio: { channelCount: 1, echoCancellation, noiseSuppression, autoGainControl },
    video: false,
  });
}

/** `navigator.mediaDevices`; throws where the browser has none, as it does without TLS. */
function devices(): MediaDevices {
  const found = (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
  if (!found) {
    throw new DOMException("This browser gives no page a microphone.", "NotSupportedError");
  }
  return found;
}

/** A graph from the stream to the worklet. The stream is stopped where that fails. */
async function read(stream: MediaStream, onFrame: (pcm: ArrayBuffer) => void): Promise<Opened> {
  let context: AudioContext | undefined;
  try {
    const graph = contextFor(stream);
    context = graph.context;
    await context.audioWorklet.addModule(workletUrl);
    const node = new AudioWorkletNode(context, "capture", {
      numberOfInputs: 1,
      numberOfOutputs: 1,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    node.port.onmessage = (message: MessageEvent<ArrayBuffer>) => {
      onFrame(message.data);
    };
    graph.source.connect(node).connect(context.destination); // it is silent, but unconnected it would not run
    void context.resume().catch(() => undefined);
    return { stream, context };
  } catch (error) {
    release({ stream, context });
    throw error;
  }
}

/** At 16 kHz where the browser resamples a microphone by itself; Firefox does not, and the worklet has to. */
function contextFor(stream: MediaStream): { context: AudioContext; source: MediaStreamAudioSourceNode } {
  const context = new AudioContext({ sampleRate: MICROPHONE_RATE, latencyHint: "interactive" });
  try {
    return { context, source: context.createMediaStreamSource(stream) };
  } catch {
    void context.close();
    const plain = new AudioContext({ latencyHint: "interactive" });
    return { context: plain, source: plain.createMediaStreamSource(stream) };
  }
}

function release({ stream, context }: { stream: MediaStream; context: AudioContext | undefined }) {
  for (const track of stream.getTracks()) {
    track.stop();
  }
  void context?.close().catch(() => undefined);
}

/** Calls `possible` where the person has thought better of it, or another device is there. */
async function whenPossible(problem: "denied" | "missing", signal: AbortSignal, possible: () => void): Promise<void> {
  const again = () => {
    possible();
  };
  if (problem === "missing") {
    devices().addEventListener("devicechange", again, { signal });
    return;
  }
  try {
    const status = await navigator.permissions.query({ name: "microphone" });
    status.addEventListener("change", again, { signal });
  } catch {
    // Where the browser does not say, the next attempt shows it.
  }
}

async function whyEnded(): Promise<Microphone> {
  return (await permission()) === "denied" ? { state: "denied", forGood: true } : { state: "missing" };
}

/** What an error of getUserMedia means. */
async function reasonOf(error: unknown): Promise<Microphone> {
  const name = error instanceof Error || error instanceof DOMException ? error.name : "";
  if (!globalThis.isSecureContext) {
    return { state: "insecure" };
  }
  if (name === "NotAllowedError" || name === "SecurityError") {
    return { state: "denied", forGood: (await permission()) === "denied" };
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return { state: "missing" };
  }
  if (name === "NotReadableError" || name === "AbortError") {
    return {
      state: "failed",
      text: "The microphone cannot be read: another program may hold it. Close that, and try again.",
    };
  }
  return { state: "failed", text: error instanceof Error ? error.message : "The microphone cannot be opened." };
}

/** What the person has decided; "prompt" where the browser does not say. */
async function permission(): Promise<PermissionState> {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state;
  } catch {
    return "prompt";
  }
}
