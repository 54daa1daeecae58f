/**
 * One session with the server over all its connections: which turns are under way, what has come, and what has to be
 * sent again after a connection was lost. Knows no socket.
 */

import { MICROPHONE_RATE } from "../audio/pcm";
import { createKeptAudio, type KeptAudio } from "./kept-audio";
import {
  type Call,
  type CallEnd,
  type CallOutcome,
  type ClientMessage,
  type Listen,
  parse,
  type Place,
  PROTOCOL,
  type Ready,
  type Text,
  type TurnEvent,
} from "./protocol";
import { MOST_NOTICES } from "./types";

const BYTES_PER_SECOND = MICROPHONE_RATE * 2;

/** The server lets 30 s of audio wait; what is sent again after a resume comes all at once. */
const MOST_KEPT_BYTES = 28 * BYTES_PER_SECOND;

/** Of a turn that waits for its wake word: who called longer ago has given up. */
const MOST_WAITING_BYTES = 10 * BYTES_PER_SECOND;

/** The server keeps a session without a connection for 30 s; what waits for longer will not be answered. */
export const RESUME_MS = 30_000;

/** What is said of a turn that has waited for longer. */
const LOST = "The connection was lost for too long. Please ask again.";

/** What is said of a turn that belongs to another person's session, or to nobody's. */
const ABANDONED = "This was not answered before you signed in or out. Please ask again.";

/** Turns that are done, of which it can still be told how much was heard. */
const REMEMBERED_TURNS = 8;

/** JSON as text, or PCM. */
export type Frame = string | ArrayBuffer;

/** How a new session is begun; empty is the server's choice. */
export interface Start extends Place {
  language: string;
  voice: string;
  conversation_id: string;
}

export interface SessionEvents {
  /** What happens in the turn that was begun with this key; each ends with `done`. */
  event(key: number, event: TurnEvent): void;
  /** The answer's sound. */
  sound(key: number, pcm: ArrayBuffer): void;
  /** The server calls. */
  call(message: Call | CallEnd): void;
}

export interface Session {
  /** Frames that have come in it, for `ack`. */
  readonly received: number;
  /** The first frame of a connection. */
  hello(start: Start): Frame;
  /** A connection is there: `send` takes its frames. Sends what the server lacks, and has not waited for too long. */
  plug(ready: Ready, send: (frame: Frame) => void): void;
  /** The connection is gone. */
  unplug(): void;
  /** The session is over: turns that have been sent are lost. */
  forget(): void;
  /** The session is over, and somebody else may begin the next: turns that wait are lost as well. */
  abandon(): void;
  /** A frame of the present connection. Returns an error that belongs to no turn. */
  take(frame: Frame): { code: string; text: string; fatal: boolean } | null;
  /** Begin a turn; the key names it from now on. One with wake words waits beside the turn before it. */
  begin(frame: Listen | Text): number;
  /** Audio of the newest turn that listens. */
  audio(pcm: ArrayBuffer): void;
  endAudio(): void;
  cancel(): void;
  /** So much of a turn's answer was heard; all of it without `seconds`. */
  played(key: number, seconds?: number): void;
  /** What became of a call. */
  noticed(id: string, outcome: CallOutcome): void;
}

interface Turn {
  key: number;
  /** The server's, in this session. */
  number: number;
  frame: Listen | Text;
  /** By Date.now(). */
  begunAt: number;
  /** It was put on a connection, and may have been begun. */
  sent: boolean;
  /** The server has said something of it. */
  known: boolean;
  /** For its wake word. */
  waits: boolean;
  /** By `cancel`. */
  cancelled: boolean;
  /** A newer turn has taken its place. */
  superseded: boolean;
  audio: KeptAudio;
  audioEnded: boolean;
}

export function createSession(events: SessionEvents): Session {
  let id = "";
  let received = 0;
  let send: ((frame: Frame) => void) | null = null;
  let turns: Turn[] = []; // those that are not done, in their order
  let done: Pick<Turn, "key" | "number">[] = [];
  let last = 0; // number of the newest turn of the session
  let keys = 0;
  let soundOf: number | null = null; // key of the turn whose audio comes
  let report: ClientMessage | null = null; // of what was heard, until there is a connection
  let noticed: ClientMessage[] = []; // likewise, of calls

  function tell(message: ClientMessage) {
    send?.(JSON.stringify(message));
  }

  function end(turn: Turn, ...last: TurnEvent[]) {
    turns = turns.filter((other) => other !== turn);
    done = [...done, turn].slice(-REMEMBERED_TURNS);
    for (const event of last) {
      events.event(turn.key, event);
    }
  }

  function lose(turn: Turn, text = LOST) {
    if (turn.cancelled || turn.superseded) {
      end(turn, doneAs("cancelled"));
    } else {
      end(turn, { type: "error", code: "connection-lost", text }, doneAs("failed"));
    }
  }

  function submit(turn: Turn) {
    last += 1;
    turn.number = last;
    turn.sent = true;
    tell(turn.frame);
    sendAudio(turn, 0);
  }

  /** What is there of a turn's audio from a byte on; the turn is lost where some of it is kept no longer. */
  function sendAudio(turn: Turn, from: number) {
    let frames = turn.audio.since(from);
    if (turn.waits && (!frames || bytesOf(frames) > MOST_WAITING_BYTES)) {
      frames = turn.audio.newest(MOST_WAITING_BYTES, from);
    }
    if (!frames) {
      tell({ type: "cancel" });
      lose(turn);
      return;
    }
    for (const frame of frames) {
      send?.(frame);
    }
    if (turn.audioEnded) {
      tell({ type: "end_audio" });
    }
  }

  function listening(): Turn | undefined {
    return turns.findLast((turn) => turn.frame.type === "listen" && !turn.cancelled && !turn.superseded);
  }

  /** A turn was refused before it had begun: those behind it have one number less. */
  function refuse(code: string, text: string) {
    const type = code === "text-too-long" ? "text" : "listen";
    const turn = turns.find((turn) => turn.sent && !turn.known && turn.frame.type === type);
    if (!turn) {
      return;
    }
    last -= 1;
    for (const later of turns.filter((later) => later.number > turn.number)) {
      later.number -= 1;
    }
    end(turn, { type: "error", code, text }, doneAs("failed"));
  }

  function forget() {
    send = null;
    id = "";
    last = 0;
    for (const turn of turns.filter((turn) => turn.sent || turn.cancelled || turn.superseded)) {
      lose(turn);
    }
    done = [];
    noticed = [];
    report = null; // the end of a turn may have been the end of its sound
  }

  return {
    get received() {
      return received;
    },
    hello(start) {
      const message: ClientMessage = id
        ? { type: "start", protocol: PROTOCOL, session: id, received }
        : { type: "start", protocol: PROTOCOL, ...start };
      return JSON.stringify(message);
    },
    plug(ready, connection) {
      if (ready.resumed) {
        received += 1;
      } else {
        forget();
        received = 1;
      }
      id = ready.session;
      for (const turn of turns.filter((turn) => !turn.sent && Date.now() - turn.begunAt > RESUME_MS)) {
        lose(turn); // a command that is carried out minutes later surprises people
      }
      send = connection;
      last = ready.turn;
      if (report) {
        tell(report);
      }
      report = null;
      noticed.forEach(tell);
      noticed = [];
      const newest = turns.find((turn) => turn.sent && turn.number === ready.turn);
      const missing = turns.filter((turn) => !turn.sent || turn.number > ready.turn);
      if (newest?.cancelled) {
        tell({ type: "cancel" });
      } else if (newest && !newest.superseded) {
        sendAudio(newest, ready.audio_received);
      }
      for (const turn of missing) {
        if (turn.cancelled || turn.superseded) {
          end(turn, doneAs("cancelled"));
        } else {
          submit(turn);
        }
      }
    },
    unplug() {
      send = null;
    },
    forget,
    abandon() {
      forget();
      for (const turn of turns) {
        lose(turn, ABANDONED);
      }
    },
    take(frame) {
      received += 1;
      if (typeof frame !== "string") {
        if (soundOf !== null) {
          events.sound(soundOf, frame);
        }
        return null;
      }
      const message = parse(frame);
      if (message === null || message.type === "ready") {
        return null;
      }
      if (message.type === "refusal") {
        if (!message.fatal) {
          refuse(message.code, message.text);
        }
        return message;
      }
      if (message.type === "notice" || message.type === "notice_end") {
        events.call(message);
        return null;
      }
      const turn = turns.find((turn) => turn.sent && turn.number === message.turn);
      if (message.type === "audio_start") {
        soundOf = turn ? turn.key : null;
      }
      if (turn) {
        turn.known = true;
        turn.waits &&= message.type !== "detection";
        if (message.type === "done") {
          end(turn, message);
        } else {
          events.event(turn.key, message);
        }
      }
      return null;
    },
    begin(frame) {
      const waits = frame.type === "listen" && frame.wake_words.length > 0;
      for (const turn of turns.filter((turn) => turn.waits || !waits)) {
        turn.superseded = true;
        if (!turn.sent) {
          end(turn, doneAs("cancelled"));
        }
      }
      keys += 1;
      const turn = {
        ...{
          key: keys,
          number: 0,
          frame,
          begunAt: Date.now(),
          waits,
          audio: createKeptAudio(MOST_KEPT_BYTES),
          audioEnded: false,
        },
        ...{ sent: false, known: false, cancelled: false, superseded: false },
      };
      turns = [...turns, turn];
      if (send) {
        submit(turn);
      }
      return turn.key;
    },
    audio(pcm) {
      const turn = listening();
      if (!turn || turn.audioEnded) {
        return;
      }
      turn.audio.push(pcm);
      if (turn.sent) {
        send?.(pcm);
      } else if (!turn.waits && !turn.audio.since(0)) {
        lose(turn);
      }
    },
    endAudio() {
      const turn = listening();
      if (turn && !turn.audioEnded) {
        turn.audioEnded = true;
        if (turn.sent) {
          tell({ type: "end_audio" });
        }
      }
    },
    cancel() {
      for (const turn of turns) {
        turn.cancelled = true;
        if (!turn.sent) {
          end(turn, doneAs("cancelled"));
        }
      }
      tell({ type: "cancel" });
    },
    played(key, seconds) {
      const turn = [...turns, ...done].find((turn) => turn.key === key);
      if (!turn) {
        return;
      }
      const message: ClientMessage = {
        type: "played",
        turn: turn.number,
        ...(seconds === undefined ? {} : { seconds }),
      };
      if (send) {
        tell(message);
      } else {
        report = message;
      }
    },
    noticed(id, outcome) {
      const message: ClientMessage = { type: "noticed", id, outcome };
      if (send) {
        tell(message);
      } else {
        noticed = [...noticed, message].slice(-MOST_NOTICES);
      }
    },
  };
}

function doneAs(outcome: "cancelled" | "failed"): TurnEvent {
  return { type: "done", outcome, timeline: null };
}

function bytesOf(frames: readonly ArrayBuffer[]): number {
  return frames.reduce((sum, frame) => sum + frame.byteLength, 0);
}
