/** 16-bit PCM, as the server wants and gives it, and floats, as Web Audio has them. */

/** Hertz of what the server listens to. */
export const MICROPHONE_RATE = 16_000;

/** A frame of the microphone: 20 ms, as a satellite sends them; the end of speech is noticed no sooner than a frame's end. */
export const FRAME_SAMPLES = 320;

export const FRAME_BYTES = FRAME_SAMPLES * 2;

const FULL_SCALE = 32_768;

/** Floats (-1 to 1) as s16le; what is louder is clipped. */
export function encodePcm(samples: Float32Array): ArrayBuffer {
  const pcm = new DataView(new ArrayBuffer(samples.length * 2));
  samples.forEach((sample, index) => {
    pcm.setInt16(index * 2, Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, Math.round(sample * FULL_SCALE))), true);
  });
  return pcm.buffer;
}

/** One channel of interleaved s16le as floats. */
export function decodePcm(pcm: ArrayBuffer, channels = 1, channel = 0): Float32Array<ArrayBuffer> {
  const view = new DataView(pcm);
  const samples = new Float32Array(Math.floor(pcm.byteLength / 2 / channels));
  for (let index = 0; index < samples.length; index += 1) {
    samples[index] = view.getInt16((index * channels + channel) * 2, true) / FULL_SCALE;
  }
  return samples;
}

/** Root mean square, 0 to 1. */
export function rms(samples: Float32Array): number {
  const energy = samples.reduce((sum, sample) => sum + sample * sample, 0);
  return samples.length ? Math.sqrt(energy / samples.length) : 0;
}
