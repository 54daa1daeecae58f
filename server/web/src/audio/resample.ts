/** Another sample rate, for browsers whose AudioContext must have that of the microphone. */

/** Zero crossings of the sinc on either side: with the window, the low-pass falls within 600 Hz around its edge. */
const CROSSINGS = 24;

/** Of the lower rate's Nyquist frequency: where the low-pass is at half. Speech has next to nothing above 7 kHz. */
const CUTOFF = 0.9;

/** Of the Kaiser window: what is behind the edge is 60 dB down. */
const BETA = 6;

/**
 * What takes samples of one rate, in pieces of any length, and gives those of another.
 *
 * The result is continuous over the pieces, late by half of the filter (2 ms), and exact in length: after n samples
 * there are n * to / from of them, less that delay. Aliases are 40 dB down, and 60 dB but for those next to the edge.
 */
export function createResampler(from: number, to: number): (samples: Float32Array) => Float32Array {
  const divisor = greatestCommonDivisor(from, to);
  const steps = to / divisor; // positions between two samples at which an output may lie
  const stride = from / divisor; // steps from one output to the next
  const cutoff = (Math.min(1, to / from) * CUTOFF) / 2;
  const half = Math.ceil(CROSSINGS / 2 / cutoff);
  const filters = Array.from({ length: steps }, (_, step) => filterAt(step / steps, half, cutoff));
  let history = new Float32Array(half); // as if silence had come before
  let position = half * steps; // of the next output in `history`, in steps

  return (samples) => {
    const input = new Float32Array(history.length + samples.length);
    input.set(history);
    input.set(samples, history.length);
    const output = new Float32Array(Math.ceil((input.length * steps) / stride) + 1);
    let count = 0;
    while (Math.floor(position / steps) + half < input.length) {
      const first = Math.floor(position / steps) - half;
      output[count] = weigh(input, first, filters[position % steps] ?? new Float32Array());
      count += 1;
      position += stride;
    }
    const done = Math.min(input.length, Math.max(0, Math.floor(position / steps) - half));
    history = input.slice(done);
    position -= done * steps;
    return output.subarray(0, count);
  };
}

function weigh(input: Float32Array, first: number, filter: Float32Array): number {
  let sum = 0;
  for (let tap = 0; tap < filter.length; tap += 1) {
    sum += (filter[tap] ?? 0) * (input[first + tap] ?? 0);
  }
  return sum;
}

/** Weights of the samples around an output that lies `fraction` of a sample behind the middle one. */
function filterAt(fraction: number, half: number, cutoff: number): Float32Array {
  const weights = Array.from({ length: 2 * half + 1 }, (_, tap) => {
    const distance = tap - half - fraction;
    return sinc(2 * cutoff * distance) * kaiser(distance / (half + 1));
  });
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return Float32Array.from(weights, (weight) => weight / sum);
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x: number): number {
  return Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
}

/** The modified Bessel function of order 0, by its series. */
function bessel(x: number): number {
  let sum = 1;
  let term = 1;
  for (let order = 1; term > sum * 1e-9; order += 1) {
    term *= (x / 2 / order) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
