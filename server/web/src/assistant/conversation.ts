/**
 * Who speaks when: begins turns from the key, from text and from the open microphone, gives the answers to the
 * loudspeaker, and sees to it that neither talks into the other.
 */

import type { Capture } from "../audio/capture";
import { createGate } from "../audio/gate";
import type { Playback } from "../audio/playback";
import type { TurnEvent, Volume } from "./protocol";
import type { Session } from "./session";
import { createTalkKey } from "./talk-key";
import type { Activity, Microphone, Settings } from "./types";

/** Before an open microphone listens again after something went wrong. */
const BREATH_MS = 1_000;

/** How a turn was begun; `again` is the answer to a question of the assistant. */
export type How = "text" | "push" | "tap" | "open" | "wake" | "again";

/** Where a turn is. */
type Phase = "waiting" | "listening" | "hearing" | "thinking" | "done";

interface Ask {
  key: number;
  how: How;
  phase: Phase;
  asksBack: boolean;
  /** Nobody spoke. */
  silent: boolean;
  failed: boolean;
}

/** What becomes of the turns; all by the keys of the session. */
export interface ConversationEvents {
  /** Worth to be shown; `question` where it was written. */
  shown(key: number, question: string | null): void;
  /** Nobody meant it, or nothing was said in it. */
  dropped(key: number): void;
  happened(key: number, event: TurnEvent): void;
  sounded(key: number): void;
  /** The browser did not sound the answer, or not all of it. */
  silent(key: number): void;
  interrupted(key: number): void;
  /** A turn of the person begins, or all is to be silent: calls as well. */
  hushed(): void;
  volume(volume: Volume): void;
  /** Nothing is under way, and the conversation may be begun anew. */
  idle(): void;
  /** `activity` or `handsFree` may be others. */
  changed(): void;
}

export interface Parts {
  session: Pick<Session, "begin" | "audio" | "endAudio" | "cancel" | "played">;
  capture: Capture;
  playback: Playback;
  settings: () => Settings;
  /** The server's wake words; none before it is connected. */
  wakeWords: () => readonly string[];
  connected: () => boolean;
}

export interface Conversation {
  readonly activity: Activity;
  readonly handsFree: boolean;
  /** Somebody asks or is answered. */
  readonly busy: boolean;
  /** The server's call sounds from now on, or is over: an open microphone does not listen to it. */
  calling(on: boolean): void;
  press(): void;
  release(): void;
  say(text: string): void;
  interrupt(): void;
  setHandsFree(on: boolean): void;
  /** Go on listening, if that is wanted: the connection is there, or a setting is another. */
  listen(): void;
  /** The wake words or the mode have changed. */
  listenAnew(): void;
  /** All stops. */
  reset(): void;
  event(key: number, event: TurnEvent): void;
  sound(key: number, pcm: ArrayBuffer): void;
  frame(pcm: ArrayBuffer): void;
  microphone(state: Microphone): void;
  /** Of the loudspeaker, as in PlaybackEvents. */
  began(): void;
  ended(sounded: boolean, seconds: number): void;
}

export function createConversation(parts: Parts, events: ConversationEvents): Conversation {
  const { session, capture, playback } = parts;
  const asks = new Map<number, Ask>(); // those that the session has not done
  let current: Ask | null = null; // the one that the person knows of
  let standby: Ask | null = null; // waits for the wake word, beside it
  let sound: { ask: Ask; begun: boolean } | null = null;
  let handsFree = false;
  let called = false; // the server's call sounds
  let dormant = false; // the microphone is open, but the room is silent: the server need not listen
  const isSound = createGate();
  let breath: ReturnType<typeof setTimeout> | undefined;

  const key = createTalkKey({
    begin(how, frames) {
      beginSpeech(how, frames);
    },
    end() {
      finishSpeech();
    },
    failed() {
      listen();
      events.changed();
    },
  });

  function beginSpeech(how: Exclude<How, "text">, frames: readonly ArrayBuffer[]) {
    const mode = how === "push" ? "push_to_talk" : "hands_free";
    const ask = begin(how, { type: "listen", mode, wake_words: how === "wake" ? chosenWords() : [] });
    for (const frame of frames) {
      session.audio(frame);
    }
    if (how === "push" || how === "tap") {
      events.shown(ask.key, null);
    }
    events.changed();
  }

  function begin(how: How, frame: Parameters<Session["begin"]>[0]): Ask {
    clearTimeout(breath);
    dormant = false;
    const phase = how === "text" ? "thinking" : how === "wake" ? "waiting" : "listening";
    if (how !== "wake") {
      current = standby = null; // before the session ends them
    }
    const ask: Ask = { key: session.begin(frame), how, phase, asksBack: false, silent: false, failed: false };
    asks.set(ask.key, ask);
    if (how === "wake") {
      standby = ask;
    } else {
      current = ask;
    }
    return ask;
  }

  /** The person has finished: by the key, or because the microphone is gone. */
  function finishSpeech() {
    if (current && takesSpeech(current)) {
      session.endAudio();
      current.phase = "thinking";
      listen();
      events.changed();
    }
  }

  /** Begin what listens next, where nothing else does. */
  function listen() {
    clearTimeout(breath);
    dormant = false;
    if (!current && !sound && !called && !key.undecided) {
      events.idle();
    }
    if (key.undecided || (current && takesSpeech(current))) {
      return;
    }
    if (!handsFree) {
      capture.rest();
      return;
    }
    if (!parts.connected()) {
      return; // `listen` is called again when it is
    }
    const { mode } = parts.settings();
    if (mode === "wake" && !standby && chosenWords().length) {
      beginSpeech("wake", []);
    } else if (mode === "open" && !current && !sound && !called) {
      beginSpeech("open", []);
    }
  }

  function chosenWords(): readonly string[] {
    const known = parts.wakeWords();
    const chosen = parts.settings().wakeWords.filter((word) => known.includes(word));
    return chosen.length ? chosen : known.slice(0, 1);
  }

  /** Be quiet. The server is told how much was heard. */
  function hush() {
    if (called) {
      called = false;
      capture.forget();
    }
    events.hushed();
    if (!sound) {
      return;
    }
    const { ask } = sound;
    sound = null;
    session.played(ask.key, playback.stop());
    capture.forget();
    events.interrupted(ask.key);
    if (ask === current && !asks.has(ask.key)) {
      current = null;
    }
  }

  function interrupt() {
    key.reset();
    const busy = sound !== null || current !== null;
    hush();
    if (busy) {
      current = standby = null;
      session.cancel();
    }
    listen();
    events.changed();
  }

  function setHandsFree(on: boolean) {
    if (on === handsFree || (on && parts.settings().mode === "push")) {
      return;
    }
    handsFree = on;
    if (on) {
      playback.unlock();
      void capture.open(parts.settings()).then((open) => {
        if (open) {
          listen(); // else `microphone` was told why not, or a newer wish has closed it
        }
        events.changed();
      });
    } else {
      stopListening();
      capture.close();
    }
    events.changed();
  }

  /** A turn is done, and has sounded. */
  function answered(ask: Ask) {
    if (ask !== current) {
      return;
    }
    current = null;
    const { continueConversation, mode } = parts.settings();
    const mayListen = handsFree || mode === "push"; // not where the microphone was switched off during the answer
    if (mayListen && continueConversation && ask.asksBack && ask.how !== "text" && parts.connected()) {
      void capture.open(parts.settings()).then((open) => {
        if (open && !current && !called && !key.undecided) {
          beginSpeech("again", []);
        }
      });
    } else if (ask.failed && handsFree) {
      breath = setTimeout(listen, BREATH_MS);
    } else if (ask.silent && ask.how === "open" && handsFree) {
      dormant = true;
    } else {
      listen();
    }
  }

  function happened(ask: Ask, event: TurnEvent) {
    switch (event.type) {
      case "detection":
        hush();
        current = ask;
        standby = null;
        ask.phase = "listening";
        events.shown(ask.key, null);
        break;
      case "voice_started":
        if (ask.phase === "listening") {
          ask.phase = "hearing";
          if (ask.how === "open" || ask.how === "again") {
            events.shown(ask.key, null);
          }
        }
        break;
      case "voice_stopped":
        ask.phase = "thinking";
        if (ask === current) {
          listen();
        }
        break;
      case "handled":
        ask.asksBack = event.listen;
        if (event.volume) {
          events.volume(event.volume);
        }
        break;
      case "audio_start":
        if (ask === current && !key.undecided) {
          sound = { ask, begun: false };
          playback.begin(event.rate, event.channels);
        }
        break;
      case "audio_stop":
        if (sound?.ask === ask) {
          playback.end();
        }
        break;
      case "error":
        ask.silent = event.code === "no-speech";
        ask.failed = !ask.silent;
        break;
      case "done":
        over(ask, event.outcome);
        break;
      default:
    }
  }

  function over(ask: Ask, outcome: "completed" | "cancelled" | "failed") {
    asks.delete(ask.key);
    ask.phase = "done";
    ask.asksBack &&= outcome === "completed";
    if (ask === standby) {
      standby = null;
      breath = setTimeout(listen, BREATH_MS);
    } else if (sound?.ask === ask) {
      playback.end(); // also where no `audio_stop` came: what has come may sound
    } else {
      answered(ask);
    }
  }

  return {
    get activity() {
      return activity();
    },
    get handsFree() {
      return handsFree;
    },
    get busy() {
      const nobodySpeaks = current?.how === "open" && current.phase === "listening";
      return key.undecided || sound !== null || (current !== null && !nobodySpeaks);
    },
    calling(on) {
      if (on === called) {
        return;
      }
      called = on;
      if (on) {
        clearTimeout(breath);
        dormant = false;
        if (current?.how === "open" && current.phase === "listening") {
          current = null;
          session.cancel();
        }
      } else {
        capture.forget();
        listen();
      }
      events.changed();
    },
    press() {
      playback.unlock();
      if (current?.how === "tap" && takesSpeech(current)) {
        key.reset();
        if (current.phase === "hearing") {
          finishSpeech();
        } else {
          interrupt();
        }
        return;
      }
      hush();
      key.press(capture.open(parts.settings()), (count) => capture.recent(count));
      events.changed();
    },
    release() {
      key.release();
    },
    say(text) {
      playback.unlock();
      key.reset(); // whoever writes speaks no more, also where the browser still asks for the microphone
      hush();
      const ask = begin("text", { type: "text", text });
      events.shown(ask.key, text);
      listen();
      events.changed();
    },
    interrupt,
    setHandsFree,
    listen,
    listenAnew() {
      if (handsFree && parts.settings().mode === "push") {
        setHandsFree(false);
      } else if (handsFree) {
        stopListening();
      }
      listen();
    },
    reset() {
      key.reset();
      clearTimeout(breath);
      handsFree = dormant = called = false;
      sound = null;
      current = standby = null;
      playback.stop();
      session.cancel();
      capture.close();
      asks.clear();
    },
    event(turnKey, event) {
      const ask = asks.get(turnKey);
      if (!ask) {
        return;
      }
      if (event.type === "error" && event.code === "no-speech" && (ask.how === "open" || ask.how === "again")) {
        events.dropped(turnKey);
      } else {
        events.happened(turnKey, event);
      }
      happened(ask, event);
      events.changed();
    },
    sound(turnKey, pcm) {
      if (sound?.ask.key === turnKey) {
        playback.push(pcm);
      }
    },
    frame(pcm) {
      const loud = isSound(pcm);
      if (key.frame(pcm)) {
        return;
      }
      if (dormant && loud && parts.connected()) {
        beginSpeech("open", capture.recent(Infinity)); // with this frame, and those of the word before it
      } else if (standby || (current && takesSpeech(current))) {
        session.audio(pcm);
      }
    },
    microphone(state) {
      if (state.state !== "on" && state.state !== "asking") {
        handsFree = false;
        stopListening();
        finishSpeech();
      }
    },
    began() {
      if (sound) {
        sound.begun = true;
        events.sounded(sound.ask.key);
        events.changed();
      }
    },
    ended(sounded, seconds) {
      if (sound) {
        const { ask, begun } = sound;
        sound = null;
        session.played(ask.key, begun && !sounded ? seconds : undefined); // one without any sound was read
        if (!sounded) {
          events.silent(ask.key);
        }
        capture.forget();
        if (ask.phase === "done") {
          answered(ask);
        }
        events.changed();
      }
    },
  };

  /** What the open microphone has begun, and nobody has spoken into. */
  function stopListening() {
    clearTimeout(breath);
    dormant = false;
    if (standby) {
      standby = null;
      session.endAudio(); // not `cancel`: an answer beside it goes on
    } else if (current && takesSpeech(current) && current.how !== "push" && current.how !== "tap") {
      current = null;
      session.cancel();
    }
  }

  function activity(): Activity {
    if (key.undecided) {
      return "listening";
    }
    if (sound?.begun) {
      return "speaking";
    }
    if (current) {
      return current.phase === "done" ? "thinking" : current.phase;
    }
    return standby ? "waiting" : dormant ? "listening" : "idle";
  }
}

function takesSpeech(ask: Ask): boolean {
  return ask.phase === "listening" || ask.phase === "hearing";
}
