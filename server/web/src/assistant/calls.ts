/**
 * What the server calls this page with: timers that ring, reminders, announcements. They are shown at once, and sound
 * one after another beside the turns, whose answers they let finish.
 */

import { chime } from "../audio/chime";
import type { Playback } from "../audio/playback";
import type { Sound } from "../audio/wav";
import type { Call, CallEnd, CallOutcome } from "./protocol";
import type { Speak } from "./speech";
import { MOST_NOTICES, type CallNotice } from "./types";

/** For the end of a turn; what rings must be heard, if need be over a long answer. */
const MOST_WAIT_MS = 10_000;

/** The card of what rings stays so long after a ring: the next one comes 2 s later, more on a busy server. */
const BETWEEN_RINGS_MS = 8_000;

/** Of a chime without speech: that of most voices. */
const LIKELY_RATE = 22_050;

export interface Parts {
  playback: Playback;
  speak: Speak;
  /** A turn is under way. */
  busy: () => boolean;
  /** It sounds from now on: what the microphone hears is not for the server. And it is over. */
  quiet: (on: boolean) => void;
  tell: (id: string, outcome: CallOutcome) => void;
  changed: (notices: readonly CallNotice[]) => void;
}

export interface Calls {
  take(message: Call | CallEnd): void;
  /** The person has seen it: it does not sound any more, and rings no more. By the id of its card. */
  dismiss(id: string): void;
  /** A turn may have ended. */
  look(): void;
  /** A turn begins: be quiet now. What rings, rings again. */
  hush(): void;
  /** Of the loudspeaker, as in PlaybackEvents. */
  ended(sounded: boolean): void;
  /** The session is another one, which knows nothing of these calls. */
  lost(): void;
  /** Somebody else may be there: all is taken away. */
  clear(): void;
}

/** The one whose turn it is. */
interface Current {
  call: Call;
  hope: AbortController;
  /** The speech is there, or will not be. */
  ready: boolean;
  speech: Sound | null;
  playing: boolean;
  /** Seconds of chime before it. */
  lead: number;
  patience?: ReturnType<typeof setTimeout>;
}

/** What is shown of one call, or of all rings of a timer. */
interface Card extends Omit<CallNotice, "sounds"> {
  /** The newest call. */
  newest: string;
  linger?: ReturnType<typeof setTimeout>;
}

export function createCalls({ playback, speak, busy, quiet, tell, changed }: Parts): Calls {
  let cards: Card[] = [];
  let waiting: Call[] = []; // those without an answer; `current` is among them
  let current: Current | null = null;
  let spoken: { text: string; language: string; sound: Sound } | null = null; // of the last one: it may ring again

  function show() {
    const sounding = current?.playing ? current.call.text : null;
    changed(cards.map(({ id, text, rings }) => ({ id, text, rings, sounds: text === sounding })));
  }

  function cardOf({ text }: Call): Card | undefined {
    return cards.find((card) => card.text === text);
  }

  /** Calls of this card that wait for their answer. */
  function open(card: Card): Call[] {
    return waiting.filter((call) => call.text === card.text);
  }

  function arrive(call: Call) {
    const card = cardOf(call);
    if (card) {
      clearTimeout(card.linger);
      card.newest = call.id;
      card.rings = call.rings;
    } else {
      const { id, text, rings } = call;
      cards = [...cards, { id, text, rings, newest: id }].slice(-MOST_NOTICES);
    }
    if (waiting.length < MOST_NOTICES) {
      waiting = [...waiting, call];
      next();
    } else {
      tell(call.id, "failed");
    }
    show();
  }

  function next() {
    const [call] = waiting;
    if (!current && call) {
      current = { call, hope: new AbortController(), ready: false, speech: null, playing: false, lead: 0 };
      void prepare(current);
    }
  }

  async function prepare(mine: Current) {
    const { text, language } = mine.call;
    const known = spoken?.text === text && spoken.language === language ? spoken.sound : null;
    const sound = await (known ?? speak(text, language, mine.hope.signal));
    if (current !== mine) {
      return;
    }
    spoken = sound && { text, language, sound };
    mine.speech = sound;
    mine.ready = true;
    mine.patience = setTimeout(() => {
      play(mine);
    }, MOST_WAIT_MS);
    look();
  }

  function look() {
    if (current?.ready && !current.playing && !busy()) {
      play(current);
    }
  }

  function play(mine: Current) {
    clearTimeout(mine.patience);
    mine.playing = true;
    const { rate, channels } = mine.speech ?? { rate: LIKELY_RATE, channels: 1 };
    quiet(true);
    show();
    playback.begin(rate, channels); // where there is no loudspeaker it has ended by now
    if (current === mine) {
      const tones = mine.call.chime ? chime(rate, channels) : new ArrayBuffer(0);
      mine.lead = tones.byteLength / (2 * channels * rate);
      playback.push(tones);
      playback.push(mine.speech?.pcm ?? new ArrayBuffer(0));
      playback.end();
    }
  }

  /** It is not this one's turn any more. */
  function leave(mine: Current) {
    current = null;
    mine.hope.abort();
    clearTimeout(mine.patience);
    if (mine.playing) {
      playback.stop();
      quiet(false);
    }
  }

  function finish(mine: Current, sounded: boolean) {
    const heard = sounded && (mine.speech !== null || (mine.call.chime && mine.call.rings));
    waiting = waiting.filter((call) => call !== mine.call);
    leave(mine);
    tell(mine.call.id, heard ? "heard" : "failed");
    const card = cardOf(mine.call);
    if (card?.rings) {
      linger(card, heard);
    }
    next();
    show();
  }

  /** Without another ring it is over; where nobody could hear it, it can still be read. */
  function linger(card: Card, heard: boolean) {
    clearTimeout(card.linger);
    card.linger = setTimeout(() => {
      if (open(card).length) {
        return;
      }
      if (heard) {
        remove(card);
      } else {
        card.rings = false;
      }
      show();
    }, BETWEEN_RINGS_MS);
  }

  function remove(card: Card) {
    clearTimeout(card.linger);
    cards = cards.filter((other) => other !== card);
  }

  function withdraw(id: string) {
    waiting = waiting.filter((call) => call.id !== id);
    if (current?.call.id === id) {
      leave(current);
    }
    const card = cards.find((card) => card.newest === id);
    if (card && !open(card).length) {
      remove(card);
    }
    next();
    show();
  }

  function forget() {
    waiting = [];
    if (current) {
      leave(current);
    }
  }

  return {
    take(message) {
      if (message.type === "notice") {
        arrive(message);
      } else {
        withdraw(message.id);
      }
    },
    dismiss(id) {
      const card = cards.find((card) => card.id === id);
      if (!card) {
        return;
      }
      const over = open(card);
      waiting = waiting.filter((call) => !over.includes(call));
      remove(card);
      if (current && over.includes(current.call)) {
        leave(current);
      }
      for (const call of over) {
        tell(call.id, "stopped");
      }
      if (card.rings && !over.length) {
        tell(card.newest, "stopped"); // between two rings
      }
      next();
      show();
    },
    look,
    hush() {
      if (current?.playing) {
        finish(current, playback.stop() > (current.call.rings ? 0 : current.lead)); // of the chime nobody learns it
      }
    },
    ended(sounded) {
      if (current) {
        finish(current, sounded);
      }
    },
    lost() {
      forget();
      for (const card of cards.filter((card) => card.rings)) {
        linger(card, true);
      }
      show();
    },
    clear() {
      forget();
      cards.forEach(remove);
      spoken = null;
      show();
    },
  };
}
