/** What a browser has for sound: a microphone that a test speaks into, and clocks that it turns. */

import { vi } from "vitest";

import { FRAME_BYTES } from "../pcm";

import { FakeContext, STEP_SECONDS } from "./fake-context";

class FakeTrack extends EventTarget {
  label = "Desk microphone";
  stopped = false;

  stop() {
    this.stopped = true;
  }
}

export class FakeBrowser {
  contexts: FakeContext[] = [];
  tracks: FakeTrack[] = [];
  constraints: MediaStreamConstraints[] = [];
  /** What getUserMedia throws, if anything. */
  error: DOMException | null = null;
  /** It asks, and the test answers. */
  asks: Promise<void> = Promise.resolve();
  permission = "prompt";
  /** Tells of a `change` of the permission. */
  decision = new EventTarget();
  /** Tells of a `devicechange`. */
  devices = new EventTarget();
  /** As in Firefox, a context must have the microphone's rate. */
  strict = false;
  private ports: { onmessage: ((message: { data: ArrayBuffer }) => void) | null }[] = [];

  install(): this {
    const contexts = this.contexts;
    const ports = this.ports;
    const isStrict = () => this.strict;
    vi.stubGlobal(
      "AudioContext",
      class extends FakeContext {
        audioWorklet = { addModule: () => Promise.resolve() };

        constructor(options: { sampleRate?: number } = {}) {
          super(options.sampleRate ?? 48_000);
          contexts.push(this);
        }

        createMediaStreamSource() {
          if (isStrict() && this.sampleRate !== 48_000) {
            throw new DOMException("different sample-rate", "NotSupportedError");
          }
          return { connect: (to: unknown) => to };
        }
      },
    );
    vi.stubGlobal(
      "AudioWorkletNode",
      class {
        port = { onmessage: null };

        constructor() {
          ports.push(this.port);
        }

        connect() {
          return this;
        }
      },
    );
    vi.stubGlobal("isSecureContext", true);
    vi.stubGlobal("navigator", {
      mediaDevices: Object.assign(this.devices, {
        getUserMedia: (constraints: MediaStreamConstraints) => this.getUserMedia(constraints),
      }),
      permissions: { query: () => Promise.resolve(Object.assign(this.decision, { state: this.permission })) },
    });
    return this;
  }

  /** Whether the recording mark is shown. */
  get records(): boolean {
    return this.tracks.some((track) => !track.stopped);
  }

  /** So many times 40 ms of the microphone, in frames, with this in them; nothing where it is closed. */
  speak(times: number, content = 0) {
    for (let frame = 0; this.records && frame < 2 * times; frame += 1) {
      this.ports.at(-1)?.onmessage?.({ data: new Uint8Array(FRAME_BYTES).fill(content).buffer });
    }
  }

  /** Let so many seconds go by. */
  async run(seconds: number) {
    for (let step = 0; step < Math.round(seconds / STEP_SECONDS); step += 1) {
      for (const context of this.contexts) {
        context.tick();
      }
      await vi.advanceTimersByTimeAsync(STEP_SECONDS * 1000);
    }
  }

  private async getUserMedia(constraints: MediaStreamConstraints): Promise<unknown> {
    this.constraints.push(constraints);
    await this.asks;
    if (this.error) {
      throw this.error;
    }
    const track = new FakeTrack();
    this.tracks.push(track);
    return { getTracks: () => [track], getAudioTracks: () => [track] };
  }
}
