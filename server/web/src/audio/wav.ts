/** WAV files, as the server's synthesis gives them. */

/** Before the samples there is little more than the format. */
const MOST_CHUNKS = 16;

const PCM = 1;

/** Sound of one format. */
export interface Sound {
  rate: number;
  channels: number;
  /** Interleaved s16le. */
  pcm: ArrayBuffer;
}

/** null for what is no WAV file with 16-bit PCM. Its length may be given as unknown: then the samples are all the rest. */
export function readWav(file: ArrayBuffer): Sound | null {
  const view = new DataView(file);
  const name = (at: number) => String.fromCharCode(...new Uint8Array(file, at, 4));
  if (file.byteLength < 12 || name(0) !== "RIFF" || name(8) !== "WAVE") {
    return null;
  }
  let format: Omit<Sound, "pcm"> | null = null;
  let at = 12;
  for (let chunk = 0; chunk < MOST_CHUNKS && at + 8 <= file.byteLength; chunk += 1) {
    const length = Math.min(view.getUint32(at + 4, true), file.byteLength - at - 8);
    if (name(at) === "fmt " && length >= 16) {
      const usable = view.getUint16(at + 8, true) === PCM && view.getUint16(at + 22, true) === 16;
      const channels = view.getUint16(at + 10, true);
      const rate = view.getUint32(at + 12, true);
      format = usable && channels > 0 && rate > 0 ? { rate, channels } : null;
    } else if (name(at) === "data") {
      return format && { ...format, pcm: file.slice(at + 8, at + 8 + length) };
    }
    at += 8 + length + (length % 2);
  }
  return null;
}
