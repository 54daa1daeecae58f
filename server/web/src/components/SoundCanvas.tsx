import { useEffect, useRef } from "react";

import type { Activity, Assistant, Level } from "../assistant/types";
import { draw, step, stillPicture, type Aim } from "./draw";
import { STILL, useMedia } from "./media";
import type { Theme } from "./theme";

/** Around the button, as a part of its size: the canvas is larger by this, for the ring. */
const ROOM = 1.4;

const STALE_MS = 200;
/** Levels come 30 times a second while there is sound; an older one is over. */

const STEADY_MS = 250;
/** Between two pictures where motion is not wanted. */

interface Props {
  assistant: Assistant;
  activity: Activity;
  theme: Theme;
}

/** The V, the wave and the ring of the big button, which it fills and surrounds. Only for the eye. */
export function SoundCanvas({ assistant, activity, theme }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const picture = useRef(stillPicture());
  const still = useMedia(STILL);

  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d") ?? null;
    if (element === null || context === null) return;
    const style = getComputedStyle(element);
    const look = {
      ring: style.getPropertyValue("--ring"),
      mark: style.getPropertyValue("--on-lark"),
    };
    const samples = new Float32Array(1024);
    let heard = 0;
    let newest: { rms: number; at: number } | null = null;
    let frame = 0;
    let before = performance.now();

    const aim = (now: number): Aim => {
      const fresh = newest !== null && now - newest.at < STALE_MS;
      const sounding = activity === "listening" || activity === "hearing" || activity === "speaking";
      return {
        wave: sounding && !still ? 1 : 0,
        level: fresh && activity !== "idle" ? (newest?.rms ?? 0) : 0,
        thinking: activity === "thinking" && !still,
        samples: fresh && !still ? samples.subarray(0, heard) : null,
      };
    };
    const show = () => {
      const size = element.clientWidth * window.devicePixelRatio;
      if (element.width !== Math.round(size)) element.width = element.height = Math.round(size);
      draw(context, element.width, element.width / 2 / ROOM, picture.current, look);
    };
    const animate = (now: number) => {
      frame = 0;
      if (!still || now - before >= STEADY_MS) {
        const moves = step(picture.current, aim(now), still ? STEADY_MS : Math.min(100, now - before));
        before = now;
        show();
        if (!moves && !(newest !== null && now - newest.at < STALE_MS)) return;
      }
      frame = requestAnimationFrame(animate);
    };
    const wake = () => {
      if (frame === 0) {
        before = still ? 0 : performance.now();
        frame = requestAnimationFrame(animate);
      }
    };
    const quiet = assistant.watchLevel((level: Level) => {
      heard = Math.min(samples.length, level.samples.length);
      samples.set(level.samples.subarray(level.samples.length - heard));
      newest = { rms: level.rms, at: performance.now() };
      wake();
    });
    const resized = new ResizeObserver(show);
    resized.observe(element);
    wake();
    return () => {
      quiet();
      resized.disconnect();
      cancelAnimationFrame(frame);
    };
  }, [assistant, activity, theme, still]);

  return <canvas ref={canvas} aria-hidden="true" className="pointer-events-none absolute -inset-[20%] size-[140%]" />;
}
