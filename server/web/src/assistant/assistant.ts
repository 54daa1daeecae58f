/** Ties the conversation to the server, to the sound, to what this browser keeps, and to what is shown. */

import { createCapture } from "../audio/capture";
import { decodePcm, rms } from "../audio/pcm";
import { createPlayback } from "../audio/playback";
import { createCalls } from "./calls";
import { createConnection } from "./connection";
import { createConversation } from "./conversation";
import type { Ready, TurnEvent, Volume } from "./protocol";
import { createSpeech } from "./speech";
import {
  browserName,
  forgetHistory,
  loadHistory,
  loadSettings,
  saveHistory,
  saveSettings,
  watchKept,
  withValid,
} from "./store";
import { after, atRest, changed, sinceSpeech, unheard, withoutTurn, withTurn } from "./turns";
import type { Activity, Assistant, AssistantState, Level, Microphone, Settings, Turn } from "./types";

/** Between two levels of the answer: thirty a second, as often as the microphone's frames. */
const LEVEL_MS = 33;

/** The history is kept so long after a change: an answer comes in many pieces. */
const SAVE_MS = 500;

/** Turns to which something may happen yet. */
const RECENT_TURNS = 20;

/** The fragment of a pairing link. */
const TOKEN_FRAGMENT = "#token=";

/** `base` is the address of the page's folder, below which the server's routes are. */
export function createAssistant(base = pageFolder()): Assistant {
  const watchers = new Set<() => void>();
  const levels = new Set<(level: Level) => void>();
  const ids = new Map<number, string>(); // of the turns that are shown, by their keys
  const clocks = new Map<number, Clock>(); // of the same
  const kept = loadHistory();
  const settings = loadSettings();
  const name = browserName();
  let conversationId = settings.keepHistory ? kept.conversationId : "";
  let stale = false; // the session has another language or voice than is wanted
  let started = false;
  let saving: ReturnType<typeof setTimeout> | undefined;
  let metering: ReturnType<typeof setInterval> | undefined;
  let unwatch = () => {};
  let state: AssistantState = {
    connection: { state: "connecting" },
    microphone: { state: "off" },
    activity: "idle",
    turns: settings.keepHistory ? kept.turns.map(atRest) : [],
    settings,
    access: null,
    voices: [],
    wakeWords: [],
    handsFree: false,
    notices: [],
  };

  function show(news: Partial<AssistantState>) {
    state = { ...state, ...news };
    for (const watcher of watchers) {
      watcher();
    }
  }

  const capture = createCapture(
    (microphone) => {
      show({ microphone });
      conversation.microphone(microphone);
      showConversation();
    },
    (pcm) => {
      conversation.frame(pcm);
      if (levels.size && TAKES_SOUND.includes(state.activity)) {
        tellLevel(decodePcm(pcm), "microphone");
      }
    },
  );

  const playback = createPlayback({
    began() {
      conversation.began();
      meter();
    },
    ended(sounded, seconds) {
      conversation.ended(sounded, seconds);
    },
  });
  playback.setVolume(settings.volume);

  const callPlayback = createPlayback({
    began() {
      // what counts is its end
    },
    ended(sounded) {
      calls.ended(sounded);
    },
  });
  callPlayback.setVolume(settings.volume);

  const connection = createConnection(
    new URL(base),
    () => ({
      language: state.settings.language,
      voice: state.settings.voice,
      conversation_id: conversationId,
      name,
      calls: true,
    }),
    {
      state(connection) {
        show({ connection });
        if (connection.state === "signed-out") {
          calls.clear();
          rest();
        }
      },
      access(access) {
        show({ access });
      },
      ready({ voices, wake_words: wakeWords, resumed }: Ready) {
        show({ voices, wakeWords });
        if (!resumed) {
          calls.lost();
        }
        conversation.listen();
      },
      unusable(what) {
        change({ [what]: "" });
      },
      event(key, event) {
        conversation.event(key, event);
      },
      sound(key, pcm) {
        conversation.sound(key, pcm);
      },
      call(message) {
        calls.take(message);
      },
    },
  );

  const conversation = createConversation(
    {
      session: connection.session,
      capture,
      playback,
      settings: () => state.settings,
      wakeWords: () => state.wakeWords,
      connected: () => state.connection.state === "connected",
    },
    {
      shown(key, question) {
        const id = crypto.getRandomValues(new Uint32Array(2)).join("-");
        ids.set(key, id);
        clocks.set(key, { since: question === null ? null : performance.now() });
        for (const old of [...ids.keys()].slice(0, -RECENT_TURNS)) {
          ids.delete(old);
          clocks.delete(old);
        }
        show({ turns: withTurn(state.turns, id, Date.now(), question) });
      },
      dropped(key) {
        drop(key);
      },
      happened(key, event) {
        happened(key, event);
      },
      sounded(key) {
        const clock = clocks.get(key);
        if (clock) {
          clock.sound = performance.now();
          measure(key);
        }
      },
      silent(key) {
        update(key, unheard);
      },
      interrupted(key) {
        update(key, (turn) => ({ ...turn, interrupted: true }));
      },
      hushed() {
        calls.hush();
      },
      volume(volume) {
        change({ volume: louder(state.settings.volume, volume) });
      },
      idle() {
        if (stale && state.connection.state === "connected") {
          stale = false;
          connection.renew();
        }
      },
      changed: showConversation,
    },
  );

  const calls = createCalls({
    playback: callPlayback,
    speak: createSpeech(new URL(base)),
    busy: () => conversation.busy,
    quiet(on) {
      conversation.calling(on);
    },
    tell(id, outcome) {
      connection.session.noticed(id, outcome);
    },
    changed(notices) {
      show({ notices });
    },
  });

  function showConversation() {
    const { activity, handsFree } = conversation;
    if (activity !== state.activity || handsFree !== state.handsFree) {
      show({ activity, handsFree });
    }
    calls.look();
  }

  function happened(key: number, event: TurnEvent) {
    if (event.type === "handled_start" || event.type === "handled") {
      conversationId = event.conversation_id;
    }
    const clock = clocks.get(key);
    if (event.type === "voice_stopped" && clock) {
      clock.since = performance.now();
    }
    update(key, (turn) => after(turn, event));
    if (event.type === "done") {
      measure(key);
      const id = ids.get(key);
      const turn = state.turns.find((turn) => turn.id === id);
      if (turn?.outcome === "cancelled" && !turn.heard && !turn.answer && !turn.problem) {
        drop(key); // taken back before anything was said
      }
    }
  }

  /** How long it took to the first sound, once that and the turn's timeline are known. */
  function measure(key: number) {
    const clock = clocks.get(key);
    if (clock?.sound === undefined || clock.since === null) {
      return;
    }
    const waited = clock.sound - clock.since;
    update(key, (turn) => ({
      ...turn,
      firstSoundMs: turn.typed ? Math.round(waited) : sinceSpeech(turn, waited),
    }));
  }

  function update(key: number, change: (turn: Turn) => Turn) {
    const id = ids.get(key);
    if (id !== undefined) {
      show({ turns: changed(state.turns, id, change) });
      saveSoon();
    }
  }

  function drop(key: number) {
    const id = ids.get(key);
    ids.delete(key);
    if (id !== undefined) {
      show({ turns: withoutTurn(state.turns, id) });
    }
  }

  function change(changes: Partial<Settings>) {
    const before = state.settings;
    const now = withValid(before, changes);
    show({ settings: now });
    saveSettings(now);
    playback.setVolume(now.volume);
    callPlayback.setVolume(now.volume);
    if (now.keepHistory !== before.keepHistory) {
      forgetHistory();
      saveSoon();
    }
    if (now.voice !== before.voice || now.language !== before.language) {
      stale = true;
    }
    if (PROCESSING.some((setting) => now[setting] !== before[setting]) && isOpen(state.microphone)) {
      const wasOpen = conversation.handsFree;
      conversation.setHandsFree(false);
      capture.close();
      conversation.setHandsFree(wasOpen);
    }
    if (LISTENING.some((setting) => now[setting] !== before[setting])) {
      conversation.listenAnew();
    }
    showConversation();
  }

  function newConversation() {
    conversation.interrupt();
    conversationId = "";
    saveSoon();
    connection.renew();
  }

  function saveSoon() {
    clearTimeout(saving);
    saving = setTimeout(save, SAVE_MS);
  }

  function save() {
    clearTimeout(saving);
    saving = undefined;
    if (state.settings.keepHistory) {
      saveHistory({ conversationId, turns: state.turns });
    }
  }

  /** Only what is new here: another tab may have forgotten the rest. */
  function saveNow() {
    if (saving !== undefined) {
      save();
    }
  }

  /** Another tab has cleared the history. */
  function dropKept() {
    clearTimeout(saving);
    saving = undefined;
    conversationId = "";
    show({ turns: state.turns.filter((turn) => turn.outcome === "running") });
  }

  function tellLevel(samples: Float32Array, from: Level["from"]) {
    const level = { rms: rms(samples), samples, from };
    for (const heard of levels) {
      heard(level);
    }
  }

  /** Tell the answer's level while it sounds. */
  function meter() {
    clearInterval(metering);
    metering = setInterval(() => {
      if (state.activity !== "speaking") {
        clearInterval(metering);
      } else if (levels.size) {
        tellLevel(playback.level(), "answer");
      }
    }, LEVEL_MS);
  }

  /** A pairing link: its secret does not stay in the address. */
  function takeToken() {
    const { hash, pathname, search } = window.location;
    if (!hash.startsWith(TOKEN_FRAGMENT)) {
      return;
    }
    window.history.replaceState(null, "", `${pathname}${search}#/`);
    calls.clear();
    connection.signIn(decoded(hash.slice(TOKEN_FRAGMENT.length)));
  }

  function unlock() {
    window.removeEventListener("pointerdown", unlock);
    window.removeEventListener("keydown", unlock);
    playback.unlock();
    callPlayback.unlock();
  }

  /** Nobody is there who may be heard, or hears. */
  function rest() {
    conversation.setHandsFree(false);
    conversation.interrupt();
    capture.close();
  }

  function hide() {
    saveNow();
    rest();
  }

  return {
    get state() {
      return state;
    },
    subscribe(changed) {
      watchers.add(changed);
      return () => watchers.delete(changed);
    },
    watchLevel(heard) {
      levels.add(heard);
      return () => levels.delete(heard);
    },
    start() {
      if (!started) {
        started = true;
        takeToken();
        window.addEventListener("hashchange", takeToken);
        window.addEventListener("pagehide", hide);
        window.addEventListener("pointerdown", unlock);
        window.addEventListener("keydown", unlock);
        unwatch = watchKept(dropKept, ({ keepHistory }) => {
          show({ settings: { ...state.settings, keepHistory } });
        });
        connection.open();
      }
    },
    stop() {
      started = false;
      window.removeEventListener("hashchange", takeToken);
      window.removeEventListener("pagehide", hide);
      window.removeEventListener("pointerdown", unlock);
      window.removeEventListener("keydown", unlock);
      unwatch();
      conversation.reset();
      connection.close();
      playback.close();
      calls.clear();
      callPlayback.close();
      clearInterval(metering);
      saveNow();
      showConversation();
    },
    press() {
      conversation.press();
    },
    release() {
      conversation.release();
    },
    setHandsFree(on) {
      conversation.setHandsFree(on);
    },
    say(text) {
      if (text.trim()) {
        conversation.say(text.trim());
      }
    },
    interrupt() {
      conversation.interrupt();
    },
    dismiss(id) {
      calls.dismiss(id);
    },
    change,
    signIn(token) {
      calls.clear();
      connection.signIn(token);
    },
    signOut() {
      calls.clear();
      rest();
      connection.signOut();
    },
    retry() {
      connection.retry();
    },
    clearHistory() {
      show({ turns: [] });
      ids.clear();
      forgetHistory();
      newConversation();
    },
    newConversation,
  };
}

/** Of one turn, by performance.now(). */
interface Clock {
  /** When a text was sent, or the words of speech were complete. */
  since: number | null;
  sound?: number;
}

const PROCESSING = ["echoCancellation", "noiseSuppression", "autoGainControl"] as const;

/** The microphone's level is shown while somebody is meant to speak. */
const TAKES_SOUND: readonly Activity[] = ["waiting", "listening", "hearing"];

/** Settings with which it is listened otherwise, or another session is wanted. */
const LISTENING = ["mode", "wakeWords", "voice", "language"] as const;

function isOpen({ state }: Microphone): boolean {
  return state === "on" || state === "asking";
}

function louder(now: number, { change, to }: Volume): number {
  const percent = to ?? now * 100 + (change ?? 0);
  return Math.min(1, Math.max(0, percent / 100));
}

function pageFolder(): string {
  return new URL("./", document.baseURI).href;
}

/** A fragment that somebody has cut may be no valid one. */
function decoded(fragment: string): string {
  try {
    return decodeURIComponent(fragment);
  } catch {
    return fragment;
  }
}
