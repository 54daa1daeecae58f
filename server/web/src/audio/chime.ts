/** Before what nobody has asked for: four soft tones, as satellites have them. */

import { encodePcm } from "./pcm";

/** Hertz and seconds, an A and a D: heard through a closed door, and no alarm of a smoke detector. */
const TONES: readonly (readonly [number, number])[] = [
  [880, 0.16],
  [1174.7, 0.16],
  [880, 0.16],
  [1174.7, 0.32],
];

/** Of full scale: as loud as speech. */
const LEVEL = 0.35;

/** Over which a tone swells and fades, so that it does not click. */
const EDGE_SECONDS = 0.02;

/** Of silence behind it. */
const REST_SECONDS = 0.25;

/** The chime as interleaved s16le, in the format of the speech behind it. */
export function chime(rate: number, channels: number): ArrayBuffer {
  const mono = [...TONES.flatMap(([hertz, seconds]) => tone(hertz, seconds, rate)), ...silence(rate)];
  return encodePcm(
    Float32Array.from({ length: mono.length * channels }, (_, at) => mono[Math.floor(at / channels)] ?? 0),
  );
}

function tone(hertz: number, seconds: number, rate: number): number[] {
  return Array.from({ length: Math.round(seconds * rate) }, (_, sample) => {
    const at = sample / rate;
    const edge = Math.min(1, at / EDGE_SECONDS, (seconds - at) / EDGE_SECONDS);
    return LEVEL * edge * Math.sin(2 * Math.PI * hertz * at);
  });
}

function silence(rate: number): number[] {
  return Array<number>(Math.round(REST_SECONDS * rate)).fill(0);
}
