/** The answer's sound: one queue of pieces, scheduled back to back on the clock of Web Audio. */

import { decodePcm } from "./pcm";

/** Between the arrival of the first piece and its sound: enough for the audio thread to take it. */
const LEAD_SECONDS = 0.02;

/** After a gap in what arrives: as much as a network is late again soon. */
const LATE_LEAD_SECONDS = 0.1;

/** Of a stop: short enough to be at once, long enough not to click. */
const FADE_SECONDS = 0.01;

/** A browser that does not sound by then waits for a gesture, or has no device: the answer is only read. */
const SILENT_MS = 1_000;

/** Beyond the time at which all must have sounded: a device that is stuck ends no source. */
const PATIENCE_MS = 3_000;

/** An unused device is let go of after so long. */
const REST_MS = 60_000;

/** No answer is longer; 50 MB of memory. */
const MOST_SECONDS = 600;

/** Before an answer has said what it has: that of most voices. */
const LIKELY_RATE = 22_050;

/** Samples of the level: 46 ms at 22 kHz. */
const LEVEL_SAMPLES = 1024;

export interface PlaybackEvents {
  /** The first sound is in the air. */
  began(): void;
  /**
   * The last sound has been, or there will be none: `sounded` is false where the browser stayed silent, or fell silent
   * after so many `seconds` of it.
   */
  ended(sounded: boolean, seconds: number): void;
}

export interface Playback {
  /** An answer comes, in this format; what sounds is stopped. */
  begin(rate: number, channels: number): void;
  /** The next piece of it, s16le. */
  push(pcm: ArrayBuffer): void;
  /** There is no more of it. */
  end(): void;
  /** Be quiet at once, without `ended`. How many seconds of it were heard. */
  stop(): number;
  /** In a person's gesture: the browser may sound from now on, and does it without delay. */
  unlock(): void;
  setVolume(volume: number): void;
  /** The newest samples of what sounds. */
  level(): Float32Array;
  /** Gaps, because pieces came late. */
  readonly underruns: number;
  close(): void;
}

interface Device {
  context: AudioContext;
  volume: GainNode;
  analyser: AnalyserNode;
  rate: number;
}

/** An answer that sounds, or is about to. */
interface Utterance {
  device: Device;
  /** Fades it out. */
  fader: GainNode;
  channels: number;
  pieces: Piece[];
  seconds: number;
  begun: boolean;
  complete: boolean;
  timers: ReturnType<typeof setTimeout>[];
}

interface Piece {
  source: AudioBufferSourceNode;
  /** On the context's clock. */
  at: number;
  seconds: number;
  over: boolean;
}

/** `open` gives a context of this rate; the browser resamples to that of the device. */
export function createPlayback(
  events: PlaybackEvents,
  open = (rate: number) => new AudioContext({ sampleRate: rate, latencyHint: "interactive" }),
): Playback {
  let device: Device | null = null;
  let current: Utterance | null = null;
  let loudness = 1;
  let underruns = 0;
  let resting: ReturnType<typeof setTimeout> | undefined;
  const samples = new Float32Array(LEVEL_SAMPLES);

  /** A device of this rate, awake; null where the browser has none. */
  function wake(rate: number): Device | null {
    clearTimeout(resting);
    if (device?.rate !== rate || device.context.state === "closed") {
      void device?.context.close().catch(() => undefined);
      device = opened(rate);
    }
    void device?.context.resume().catch(() => undefined);
    return device;
  }

  function opened(rate: number): Device | null {
    try {
      const context = open(rate);
      const volume = context.createGain();
      volume.gain.value = loudness;
      const analyser = context.createAnalyser();
      analyser.fftSize = LEVEL_SAMPLES;
      analyser.connect(volume).connect(context.destination);
      const found = { context, volume, analyser, rate };
      context.onstatechange = () => {
        if (current?.device === found) {
          watch(current);
        }
      };
      return found;
    } catch {
      return null;
    }
  }

  /** See to it that it sounds, or is given up. */
  function watch(utterance: Utterance) {
    const { context } = utterance.device;
    if (context.state === "running") {
      announce(utterance);
      return;
    }
    void context.resume().catch(() => undefined);
    after(utterance, SILENT_MS, () => {
      if (context.state !== "running") {
        finish(utterance, false);
      }
    });
  }

  function announce(utterance: Utterance) {
    const first = utterance.pieces[0];
    if (first && !utterance.begun) {
      utterance.begun = true;
      const { context } = utterance.device;
      after(utterance, (first.at - context.currentTime + latency(context)) * 1000, () => {
        events.began();
      });
    }
  }

  function after(utterance: Utterance, delay: number, then: () => void) {
    utterance.timers.push(setTimeout(then, delay));
  }

  function finish(utterance: Utterance, sounded: boolean) {
    if (current === utterance) {
      const seconds = heard(utterance);
      silence(utterance);
      events.ended(sounded, seconds);
    }
  }

  function silence(utterance: Utterance) {
    current = null;
    utterance.timers.forEach(clearTimeout);
    const { context } = utterance.device;
    const now = context.currentTime;
    utterance.fader.gain.setValueAtTime(1, now);
    utterance.fader.gain.linearRampToValueAtTime(0, now + FADE_SECONDS);
    for (const { source } of utterance.pieces.filter((piece) => !piece.over)) {
      source.stop(now + FADE_SECONDS);
    }
    clearTimeout(resting);
    resting = setTimeout(() => {
      void context.suspend().catch(() => undefined);
    }, REST_MS);
  }

  function pieceEnded(utterance: Utterance, piece: Piece) {
    piece.over = true;
    if (utterance.complete && utterance.pieces.every((piece) => piece.over)) {
      after(utterance, latency(utterance.device.context) * 1000, () => {
        finish(utterance, true);
      });
    }
  }

  return {
    begin(rate, channels) {
      if (current) {
        silence(current);
      }
      const ready = wake(rate);
      if (!ready) {
        events.ended(false, 0);
        return;
      }
      const fader = ready.context.createGain();
      fader.connect(ready.analyser);
      current = {
        ...{ device: ready, fader, channels, pieces: [], seconds: 0 },
        ...{ begun: false, complete: false, timers: [] },
      };
      watch(current);
    },
    push(pcm) {
      const utterance = current;
      const mono = decodePcm(pcm, utterance?.channels);
      if (!utterance || !mono.length || utterance.seconds > MOST_SECONDS) {
        return;
      }
      const { context, rate } = utterance.device;
      const before = utterance.pieces.at(-1);
      let at = before ? before.at + before.seconds : context.currentTime + LEAD_SECONDS;
      if (at < context.currentTime) {
        underruns += 1;
        at = context.currentTime + LATE_LEAD_SECONDS;
      }
      const buffer = context.createBuffer(utterance.channels, mono.length, rate);
      for (let channel = 0; channel < utterance.channels; channel += 1) {
        buffer.copyToChannel(decodePcm(pcm, utterance.channels, channel), channel);
      }
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.connect(utterance.fader);
      const piece = { source, at, seconds: mono.length / rate, over: false };
      source.onended = () => {
        pieceEnded(utterance, piece);
      };
      source.start(at);
      utterance.pieces.push(piece);
      utterance.seconds += piece.seconds;
      if (context.state === "running") {
        announce(utterance);
      }
    },
    end() {
      const utterance = current;
      if (!utterance || utterance.complete) {
        return;
      }
      utterance.complete = true;
      const last = utterance.pieces.at(-1);
      if (!last || utterance.pieces.every((piece) => piece.over)) {
        finish(utterance, true);
        return;
      }
      const rest = last.at + last.seconds - utterance.device.context.currentTime;
      after(utterance, rest * 1000 + PATIENCE_MS, () => {
        finish(utterance, true);
      });
    },
    stop() {
      if (!current) {
        return 0;
      }
      const seconds = heard(current);
      silence(current);
      return seconds;
    },
    unlock() {
      wake(device?.rate ?? LIKELY_RATE);
      if (!current && device) {
        const { context } = device;
        resting = setTimeout(() => {
          void context.suspend().catch(() => undefined);
        }, REST_MS);
      }
    },
    setVolume(volume) {
      loudness = volume;
      device?.volume.gain.setTargetAtTime(volume, device.context.currentTime, FADE_SECONDS);
    },
    level() {
      device?.analyser.getFloatTimeDomainData(samples);
      return samples;
    },
    get underruns() {
      return underruns;
    },
    close() {
      if (current) {
        silence(current);
      }
      clearTimeout(resting);
      void device?.context.close().catch(() => undefined);
      device = null;
    },
  };
}

/** Seconds of it that have left the loudspeaker. */
function heard({ device, pieces }: Utterance): number {
  const now = device.context.currentTime - latency(device.context);
  return pieces.reduce((sum, piece) => sum + Math.min(piece.seconds, Math.max(0, now - piece.at)), 0);
}

/** From the clock to the ear; browsers that do not know it say nothing. */
function latency(context: AudioContext): number {
  const seconds = (context as { outputLatency?: number }).outputLatency ?? 0;
  return Number.isFinite(seconds) ? seconds : 0;
}
