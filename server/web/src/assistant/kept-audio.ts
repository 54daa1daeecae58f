/** The audio of a turn, kept to be sent again over another connection: as much as a bound allows. */

export interface KeptAudio {
  push(pcm: ArrayBuffer): void;
  /** What comes from this byte of the turn on; null where some of it is kept no longer. */
  since(byte: number): ArrayBuffer[] | null;
  /** The newest `bytes` at the most are taken for what comes from the byte `at` on. Nobody waits for the rest. */
  newest(bytes: number, at: number): ArrayBuffer[];
}

export function createKeptAudio(mostBytes: number): KeptAudio {
  const frames: ArrayBuffer[] = [];
  let before = 0; // bytes of the turn that were forgotten
  let bytes = 0;

  function shrink(to: number) {
    while (bytes > to) {
      const oldest = frames.shift()?.byteLength ?? bytes;
      bytes -= oldest;
      before += oldest;
    }
  }

  return {
    push(pcm) {
      frames.push(pcm);
      bytes += pcm.byteLength;
      shrink(mostBytes);
    },
    since(byte) {
      if (byte < before) {
        return null;
      }
      let at = before;
      const missing: ArrayBuffer[] = [];
      for (const frame of frames) {
        if (byte <= at) {
          missing.push(frame);
        } else if (byte < at + frame.byteLength) {
          missing.push(frame.slice(byte - at));
        }
        at += frame.byteLength;
      }
      return missing;
    },
    newest(most, at) {
      shrink(most);
      before = at;
      return [...frames];
    },
  };
}
