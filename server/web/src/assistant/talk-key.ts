/** The key of push to talk: tells a tap from a hold, and keeps what is said until it knows. */

/** Whoever lets go sooner has tapped: no question is shorter. */
export const TAP_MS = 300;

/** Kept while the key is not yet a tap or a hold: the time before it, and TAP_MS. */
const MOST_FRAMES = 100;

/** Heard before the key went down: who presses it with the first word loses nothing of that. 320 ms. */
const PRE_ROLL_FRAMES = 16;

export interface TalkKey {
  /** Down, and not yet a tap or a hold. */
  readonly undecided: boolean;
  /** Down. `microphone` opens it, and says whether that was possible. */
  press(microphone: Promise<boolean>, before: (count: number) => ArrayBuffer[]): void;
  release(): void;
  /** A frame of the microphone; true where the key keeps it. */
  frame(pcm: ArrayBuffer): boolean;
  /** Forget the press. */
  reset(): void;
}

export interface TalkKeyEvents {
  /** A tap, or a hold that goes on; with what was said by now. */
  begin(how: "tap" | "push", frames: ArrayBuffer[]): void;
  /** The end of a hold. */
  end(): void;
  /** There is no microphone. */
  failed(): void;
}

export function createTalkKey(events: TalkKeyEvents): TalkKey {
  let press: { frames: ArrayBuffer[]; released: boolean; late: boolean; open: boolean } | null = null;
  let holding = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  /** Begin as soon as it is clear how. */
  function decide() {
    if (press?.open && (press.released || press.late)) {
      const { frames, released } = press;
      press = null;
      clearTimeout(timer);
      holding = !released;
      events.begin(released ? "tap" : "push", frames);
    }
  }

  function reset() {
    clearTimeout(timer);
    press = null;
    holding = false;
  }

  return {
    get undecided() {
      return press !== null;
    },
    press(microphone, before) {
      reset();
      const mine = { frames: [...before(PRE_ROLL_FRAMES)], released: false, late: false, open: false };
      press = mine;
      timer = setTimeout(() => {
        mine.late = true;
        decide();
      }, TAP_MS);
      void microphone.then((open) => {
        if (press === mine && open) {
          mine.open = true;
          decide();
        } else if (press === mine) {
          reset();
          events.failed();
        }
      });
    },
    release() {
      if (press) {
        press.released = true; // also where the microphone took longer to open: nothing was said yet
        decide();
      } else if (holding) {
        holding = false;
        events.end();
      }
    },
    frame(pcm) {
      press?.frames.push(pcm);
      press?.frames.splice(0, press.frames.length - MOST_FRAMES);
      return press !== null;
    },
    reset,
  };
}
