/** What moves on the big button: the bird's V, which becomes the wave of the voice, and a ring for its level. */

export interface Look {
  ring: string;
  mark: string;
}

/** Everything that is drawn, as it stands; `step` goes on, `draw` shows it. Lengths are in radii of the button. */
export interface Picture {
  /** 0 is the V, 1 the wave. */
  wave: number;
  /** 0 to 1, smoothed. */
  level: number;
  /** A slower level: the outer ring. */
  echo: number;
  /** Where the light of the ring is that turns while it thinks, in radians. */
  turned: number;
  /** How much that light is seen: 0 to 1. */
  thinking: number;
  points: Float32Array;
}

export interface Aim {
  wave: number;
  level: number;
  thinking: boolean;
  samples: Float32Array | null;
}

const POINTS = 49;
/** Of the wave: enough to look like a voice, few enough for a calm line; odd, so that one is the tip of the V. */

const LOUD = 0.25;
/** The level (RMS) of a voice close by, which fills the ring. */

const FAST = 55;
const SLOW = 260;
/** Milliseconds in which two thirds of the way to an aim are gone: of what follows the voice, and of what follows that. */

const TURN_MS = 1400;
/** Once around while it thinks. */

export function stillPicture(): Picture {
  return { wave: 0, level: 0, echo: 0, turned: 0, thinking: 0, points: new Float32Array(POINTS) };
}

/** Go on by some milliseconds. Answers whether there is more to move. */
export function step(picture: Picture, aim: Aim, ms: number): boolean {
  const fast = 1 - Math.exp(-ms / FAST);
  const slow = 1 - Math.exp(-ms / SLOW);
  const level = Math.min(1, Math.sqrt(aim.level / LOUD));
  picture.level += (level - picture.level) * fast;
  picture.echo += (level - picture.echo) * slow;
  picture.wave += (aim.wave - picture.wave) * (1 - Math.exp(-ms / 110));
  picture.thinking += ((aim.thinking ? 1 : 0) - picture.thinking) * slow;
  picture.turned = (picture.turned + (ms / TURN_MS) * 2 * Math.PI) % (2 * Math.PI);
  for (let i = 0; i < POINTS; i++) {
    const now = picture.points[i] ?? 0;
    picture.points[i] = now + (loudest(aim.samples, i) - now) * fast;
  }
  const rest = Math.abs(picture.wave - aim.wave) + picture.echo + picture.level;
  return aim.thinking || aim.level > 0 || picture.thinking > 0.01 || rest > 0.01;
}

/** The sample furthest from zero in the part of the stretch that belongs to a point, faded towards both ends. */
function loudest(samples: Float32Array | null, point: number): number {
  if (samples === null || samples.length === 0) return 0;
  const from = Math.floor((point * samples.length) / POINTS);
  const until = Math.max(from + 1, Math.floor(((point + 1) * samples.length) / POINTS));
  let furthest = 0;
  for (let i = from; i < until; i++) {
    const sample = samples[i] ?? 0;
    if (Math.abs(sample) > Math.abs(furthest)) furthest = sample;
  }
  const fade = Math.sin((Math.PI * (point + 0.5)) / POINTS);
  return Math.tanh(furthest * 3.2) * fade;
}

/** Show a picture in the middle of a canvas; `radius` is the button's, in pixels. */
export function draw(context: CanvasRenderingContext2D, size: number, radius: number, picture: Picture, look: Look) {
  context.clearRect(0, 0, size, size);
  context.save();
  context.translate(size / 2, size / 2);
  context.scale(radius, radius);
  context.lineCap = "round";
  context.lineJoin = "round";
  drawRings(context, picture, look);
  drawMark(context, picture, look);
  context.restore();
}

function drawRings(context: CanvasRenderingContext2D, picture: Picture, look: Look) {
  context.strokeStyle = look.ring;
  circle(context, 1.08 + 0.2 * picture.echo, 0.012, 0.25 + 0.35 * picture.echo);
  circle(context, 1.08 + 0.11 * picture.level, 0.018 + 0.035 * picture.level, 0.5 + 0.5 * picture.level);
  if (picture.thinking > 0.01) {
    context.globalAlpha = picture.thinking;
    context.lineWidth = 0.045;
    context.beginPath();
    context.arc(0, 0, 1.08, picture.turned, picture.turned + 1.2);
    context.stroke();
  }
  context.globalAlpha = 1;
}

function circle(context: CanvasRenderingContext2D, radius: number, width: number, alpha: number) {
  context.globalAlpha = alpha;
  context.lineWidth = width;
  context.beginPath();
  context.arc(0, 0, radius, 0, 2 * Math.PI);
  context.stroke();
}

function drawMark(context: CanvasRenderingContext2D, picture: Picture, look: Look) {
  const { wave, points } = picture;
  const half = 0.4 + 0.24 * wave;
  context.strokeStyle = look.mark;
  context.lineWidth = 0.2 * (1 - wave) + 0.055 * wave;
  context.beginPath();
  let before = { x: 0, y: 0 };
  for (let i = 0; i < POINTS; i++) {
    const across = (i / (POINTS - 1)) * 2 - 1;
    const mark = 0.24 - 0.5 * Math.abs(across);
    const here = { x: across * half, y: mark * (1 - wave) - (points[i] ?? 0) * 0.5 * wave };
    if (i === 0) context.moveTo(here.x, here.y);
    else context.quadraticCurveTo(before.x, before.y, (before.x + here.x) / 2, (before.y + here.y) / 2);
    before = here;
  }
  context.lineTo(before.x, before.y);
  context.stroke();
}
