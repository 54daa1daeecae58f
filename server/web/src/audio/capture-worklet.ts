/** The end of the microphone's graph, on the audio thread: posts its frames. A file of its own in the build. */

import { createFramer } from "./framer";

/** What TypeScript's DOM library leaves out of an AudioWorkletGlobalScope. */
declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

registerProcessor(
  "capture",
  class extends AudioWorkletProcessor {
    private readonly take = createFramer(sampleRate, (frame) => {
      this.port.postMessage(frame, [frame]);
    });

    process(inputs: Float32Array[][]): boolean {
      const samples = inputs[0]?.[0];
      if (samples) {
        this.take(samples);
      }
      return true;
    }
  },
);
