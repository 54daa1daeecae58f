// @vitest-environment node
import { beforeEach, describe, expect, it, vi } from "vitest";

import { createPlayback, type Playback } from "./playback";
import { FakeContext } from "./testing/fake-context";

const RATE = 22_050;

let context: FakeContext;
let said: string[];
let heard: number;
let playback: Playback;

beforeEach(() => {
  vi.useFakeTimers();
  context = new FakeContext(RATE);
  said = [];
  playback = createPlayback(
    {
      began: () => said.push("began"),
      ended: (sounded, seconds) => {
        said.push(sounded ? "ended" : "silent");
        heard = seconds;
      },
    },
    (rate) => {
      context.sampleRate = rate;
      return context.asContext();
    },
  );
  return () => {
    vi.useRealTimers();
  };
});

function pcm(seconds: number): ArrayBuffer {
  return new ArrayBuffer(Math.round(seconds * RATE) * 2);
}

describe("an answer", () => {
  it("sounds with its first piece, and without gaps", () => {
    playback.begin(RATE, 1);
    playback.push(pcm(0.4));
    expect(context.pieces[0]?.at).toBeCloseTo(0.02);
    context.run(0.1);
    expect(said).toEqual(["began"]);
    playback.push(pcm(0.3));
    context.run(0.3);
    playback.push(pcm(0.1));
    playback.end();
    expect(context.gaps()).toEqual([]);
    context.run(0.3);
    expect(said).toEqual(["began"]);
    context.run(0.2);
    expect(said).toEqual(["began", "ended"]);
    expect(playback.underruns).toBe(0);
  });

  it("begins and ends when it is heard, not when it is sent to the device", () => {
    context.outputLatency = 0.5;
    playback.begin(RATE, 1);
    playback.push(pcm(0.2));
    playback.end();
    context.run(0.4);
    expect(said).toEqual([]);
    context.run(0.2);
    expect(said).toEqual(["began"]);
    context.run(0.3);
    expect(said).toEqual(["began", "ended"]);
  });

  it("goes on after a gap in what arrives, and counts it", () => {
    playback.begin(RATE, 1);
    playback.push(pcm(0.1));
    context.run(0.5);
    playback.push(pcm(0.1));
    playback.push(pcm(0.1));
    expect(playback.underruns).toBe(1);
    expect(context.gaps()).toHaveLength(1);
    playback.end();
    context.run(1);
    expect(said).toEqual(["began", "ended"]);
  });

  it("ends at once where its end comes late, and where there was no sound in it", () => {
    playback.begin(RATE, 1);
    playback.push(pcm(0.1));
    context.run(0.5);
    playback.end();
    playback.begin(RATE, 1);
    playback.end();
    expect(said).toEqual(["began", "ended", "ended"]);
  });

  it("ends once, however often that is said", () => {
    context.outputLatency = 0.5;
    playback.begin(RATE, 1);
    playback.push(pcm(0.2));
    playback.end();
    context.run(0.4); // sent to the device, and not heard yet
    playback.end();
    expect(said).toEqual([]);
    context.run(0.5);
    expect(said).toEqual(["began", "ended"]);
  });

  it("says how much was heard where the browser falls silent in it", () => {
    playback.begin(RATE, 1);
    playback.push(pcm(2));
    context.run(1.02);
    context.mayResume = false;
    void context.suspend();
    context.run(1.1);
    expect(said).toEqual(["began", "silent"]);
    expect(heard).toBeCloseTo(1);
  });

  it("has the rate that it has, and all its channels", () => {
    playback.begin(48_000, 2);
    playback.push(new Int16Array([100, -100, 200, -200]).buffer);
    const { buffer } = context.pieces[0] ?? {};
    expect(context.sampleRate).toBe(48_000);
    expect(buffer?.channels.map((channel) => channel.map((sample) => sample * 32_768))).toEqual([
      [100, 200],
      [-100, -200],
    ]);
  });
});

describe("stop", () => {
  it("is quiet within 10 ms, and says how much was heard", () => {
    playback.begin(RATE, 1);
    playback.push(pcm(1));
    playback.push(pcm(1));
    context.run(1.22);
    expect(playback.stop()).toBeCloseTo(1.2);
    expect(context.pieces.every((piece) => piece.stopAt <= context.currentTime + 0.011)).toBe(true);
    context.run(3);
    expect(said).toEqual(["began"]);
    expect(playback.stop()).toBe(0);
  });

  it("counts no sound that is still on its way to the ear, and no gap", () => {
    context.outputLatency = 0.2;
    playback.begin(RATE, 1);
    playback.push(pcm(0.1));
    context.run(1);
    playback.push(pcm(1));
    context.run(0.5);
    expect(playback.stop()).toBeCloseTo(0.1 + 0.5 - 0.1 - 0.2);
  });

  it("ignores what still arrives", () => {
    playback.begin(RATE, 1);
    playback.stop();
    playback.push(pcm(1));
    playback.end();
    expect(context.pieces).toEqual([]);
    expect(said).toEqual([]);
  });
});

describe("a browser that wants a gesture first", () => {
  beforeEach(() => {
    context.state = "suspended";
    context.mayResume = false;
  });

  it("lets the answer be read only", () => {
    playback.begin(RATE, 1);
    playback.push(pcm(1));
    context.run(0.9);
    expect(said).toEqual([]);
    context.run(0.2);
    expect(said).toEqual(["silent"]);
  });

  it("sounds from the gesture on", () => {
    playback.begin(RATE, 1);
    playback.push(pcm(0.5));
    playback.end();
    context.run(0.5);
    context.mayResume = true;
    playback.unlock();
    context.run(0.1);
    expect(said).toEqual(["began"]);
    context.run(1);
    expect(said).toEqual(["began", "ended"]);
  });
});

it("ends an answer whose device is stuck", () => {
  playback.begin(RATE, 1);
  playback.push(pcm(0.5));
  playback.end();
  vi.advanceTimersByTime(10_000);
  expect(said).toEqual(["began", "ended"]);
});

it("is silent without any device", () => {
  const none = createPlayback(
    { began: () => said.push("began"), ended: (sounded) => said.push(String(sounded)) },
    () => {
      throw new Error("no device");
    },
  );
  none.begin(RATE, 1);
  none.push(pcm(1));
  none.end();
  none.unlock();
  expect(said).toEqual(["false"]);
});

it("lets the device rest when nothing has sounded for a minute", () => {
  playback.begin(RATE, 1);
  playback.push(pcm(0.1));
  playback.end();
  context.run(30);
  expect(context.state).toBe("running");
  context.run(40);
  expect(context.state).toBe("suspended");
  playback.begin(RATE, 1);
  expect(context.state).toBe("running");
});

it("keeps to the volume, also of a device that comes later", () => {
  playback.setVolume(0.5);
  playback.begin(RATE, 1);
  expect(context.gains[0]?.gain.value).toBe(0.5);
  playback.setVolume(0.2);
  expect(context.gains[0]?.gain.value).toBe(0.2);
});

it("lets go of everything", () => {
  playback.begin(RATE, 1);
  playback.push(pcm(1));
  playback.close();
  expect(context.state).toBe("closed");
  expect(vi.getTimerCount()).toBe(0);
});
