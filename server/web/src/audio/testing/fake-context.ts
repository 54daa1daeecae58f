/** An AudioContext whose clock a test turns, together with the fake timers of Vitest. */

import { vi } from "vitest";

/** Of the clock at a time: as Web Audio renders. */
export const STEP_SECONDS = 0.005;

class FakeParam {
  constructor(public value: number) {}

  setTargetAtTime(value: number) {
    this.value = value;
  }

  setValueAtTime(value: number) {
    this.value = value;
  }

  linearRampToValueAtTime(value: number) {
    this.value = value;
  }
}

class FakeBuffer {
  readonly channels: number[][];

  constructor(
    count: number,
    readonly length: number,
    readonly rate: number,
  ) {
    this.channels = Array.from({ length: count }, () => []);
  }

  copyToChannel(samples: Float32Array, channel: number) {
    this.channels[channel] = [...samples];
  }
}

class FakeSource {
  buffer: FakeBuffer | null = null;
  onended: (() => void) | null = null;
  at = Infinity;
  stopAt = Infinity;
  over = false;

  connect() {
    return this;
  }

  start(at: number) {
    this.at = at;
    this.stopAt = at + (this.buffer ? this.buffer.length / this.buffer.rate : 0);
  }

  stop(at: number) {
    this.stopAt = Math.min(this.stopAt, at);
  }
}

export class FakeContext {
  currentTime = 0;
  outputLatency = 0;
  state = "running";
  mayResume = true;
  onstatechange: (() => void) | null = null;
  destination = {};
  pieces: FakeSource[] = [];
  gains: { gain: FakeParam }[] = [];

  constructor(public sampleRate: number) {}

  asContext(): AudioContext {
    return this as unknown as AudioContext;
  }

  /** Let so many seconds go by. */
  run(seconds: number) {
    for (let step = 0; step < Math.round(seconds / STEP_SECONDS); step += 1) {
      this.tick();
      vi.advanceTimersByTime(STEP_SECONDS * 1000);
    }
  }

  /** Let STEP_SECONDS go by. */
  tick() {
    if (this.state === "running") {
      this.currentTime += STEP_SECONDS;
      for (const piece of this.pieces.filter((piece) => !piece.over && piece.stopAt <= this.currentTime + 1e-9)) {
        piece.over = true;
        piece.onended?.();
      }
    }
  }

  /** Seconds of silence or of overlap between two pieces. */
  gaps(): number[] {
    const gaps = this.pieces.slice(1).map((piece, index) => piece.at - (this.pieces[index]?.stopAt ?? 0));
    return gaps.filter((gap) => Math.abs(gap) > 1e-6);
  }

  createGain() {
    const node = { gain: new FakeParam(1), connect: (to: unknown) => to };
    this.gains.push(node);
    return node;
  }

  createAnalyser() {
    return { fftSize: 0, connect: (to: unknown) => to, getFloatTimeDomainData: () => undefined };
  }

  createBuffer(channels: number, length: number, rate: number) {
    return new FakeBuffer(channels, length, rate);
  }

  createBufferSource() {
    const source = new FakeSource();
    this.pieces.push(source);
    return source;
  }

  resume() {
    return this.become(this.mayResume ? "running" : this.state);
  }

  suspend() {
    return this.become("suspended");
  }

  close() {
    return this.become("closed");
  }

  private become(state: string): Promise<void> {
    if (state !== this.state && this.state !== "closed") {
      this.state = state;
      this.onstatechange?.();
    }
    return Promise.resolve();
  }
}
