/** Samples of any rate and any length to frames of 20 ms at 16 kHz. Runs in the worklet. */

import { encodePcm, FRAME_SAMPLES, MICROPHONE_RATE } from "./pcm";
import { createResampler } from "./resample";

/** What takes the microphone's samples; `send` gets each frame as s16le once it is full. */
export function createFramer(rate: number, send: (frame: ArrayBuffer) => void): (samples: Float32Array) => void {
  const resample = rate === MICROPHONE_RATE ? null : createResampler(rate, MICROPHONE_RATE);
  const frame = new Float32Array(FRAME_SAMPLES);
  let filled = 0;
  return (samples) => {
    let rest = resample ? resample(samples) : samples;
    while (rest.length) {
      const taken = rest.subarray(0, FRAME_SAMPLES - filled);
      frame.set(taken, filled);
      filled += taken.length;
      rest = rest.subarray(taken.length);
      if (filled === FRAME_SAMPLES) {
        send(encodePcm(frame));
        filled = 0;
      }
    }
  };
}
