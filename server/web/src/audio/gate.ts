/** Tells sound from silence by level alone: good enough to sleep by, where what is missed for a moment is not lost. */

import { decodePcm, rms } from "./pcm";

/** What is below it is silence in any room: -56 dBFS. */
const QUIET = 0.0015;

/** Above the floor of the room by so much (5 dB): faint speech is, a fan's flutter is not. */
const ABOVE = 1.8;

/** The floor rises so much with a frame: within seconds it is that of a fan that was switched on. */
const RISE = 1.005;

/** What takes each frame of an open microphone, and says whether there is more in it than the room's own sound. */
export function createGate(): (pcm: ArrayBuffer) => boolean {
  let floor = Infinity;
  return (pcm) => {
    const level = rms(decodePcm(pcm));
    const loud = level > Math.max(QUIET, floor * ABOVE);
    floor = Math.min(level, floor * RISE);
    floor = Math.max(floor, QUIET / ABOVE);
    return loud;
  };
}
