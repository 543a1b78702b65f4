import type { Size } from "./geometry.js";

/** RGB pixels of an image, row by row, three values each. */
export interface Rgb {
  readonly data: Uint8Array;
  readonly size: Size;
}

/** Of every output of an axis: the first input that it reads, and the weights from there on. */
interface Windows {
  readonly first: Int32Array;
  readonly weights: readonly Float64Array[];
}

interface Filter {
  /** Zero at this distance and beyond. */
  readonly reach: number;
  readonly at: (distance: number) => number;
}

const triangle: Filter = { reach: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) };

/** Keys' cubic with a = -0.5. */
const cubic: Filter = {
  reach: 2,
  at: (x) => {
    const d = Math.abs(x);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  },
};

/** The filter widens with the factor when the axis shrinks, which is what antialiases. */
function windows(length: number, newLength: number, filter: Filter): Windows {
  const scale = length / newLength;
  const widened = Math.max(scale, 1);
  const reach = filter.reach * widened;
  const first = new Int32Array(newLength);
  const weights: Float64Array[] = [];
  for (let i = 0; i < newLength; i++) {
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const stop = Math.min(length, Math.trunc(centre + reach + 0.5));
    const window = new Float64Array(stop - start);
    let sum = 0;
    for (let x = 0; x < window.length; x++) sum += window[x] = filter.at((x + start - centre + 0.5) * (1 / widened));
    if (sum) for (let x = 0; x < window.length; x++) window[x]! /= sum;
    first[i] = start;
    weights.push(window);
  }
  return { first, weights };
}

/** Weights are whole numbers of this many bits behind the point, and each pass rounds to 8 bits. */
const bits = 22;

/** Bilinear, antialiased, in the arithmetic of 8 bits that Pillow has: the same bytes. */
export function resizeBytes(image: Rgb, [height, width]: Size): Rgb {
  let { data, size } = image;
  if (size[1] !== width) {
    data = rowsBytes(data, windows(size[1], width, triangle), size[0], size[1]);
    size = [size[0], width];
  }
  if (size[0] !== height) {
    data = columnsBytes(data, windows(size[0], height, triangle), height, 3 * width);
    size = [height, width];
  }
  return { data, size };
}

function whole(windows: Windows): Int32Array[] {
  return windows.weights.map((window) => Int32Array.from(window, (w) => Math.trunc(w * 2 ** bits + (w < 0 ? -0.5 : 0.5))));
}

function rowsBytes(data: Uint8Array, axis: Windows, lines: number, length: number): Uint8Array {
  const weights = whole(axis);
  const out = new Uint8ClampedArray(lines * weights.length * 3);
  let to = 0;
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < weights.length; i++) {
      const window = weights[i]!;
      let from = (line * length + axis.first[i]!) * 3;
      let red = 1 << (bits - 1);
      let [green, blue] = [red, red];
      for (let x = 0; x < window.length; x++, from += 3) {
        red += data[from]! * window[x]!;
        green += data[from + 1]! * window[x]!;
        blue += data[from + 2]! * window[x]!;
      }
      out[to++] = red >> bits;
      out[to++] = green >> bits;
      out[to++] = blue >> bits;
    }
  }
  return new Uint8Array(out.buffer);
}

function columnsBytes(data: Uint8Array, axis: Windows, height: number, stride: number): Uint8Array {
  const weights = whole(axis);
  const out = new Uint8ClampedArray(height * stride);
  const sums = new Int32Array(stride);
  for (let i = 0; i < height; i++) {
    sums.fill(1 << (bits - 1));
    weights[i]!.forEach((weight, y) => {
      const from = (axis.first[i]! + y) * stride;
      for (let x = 0; x < stride; x++) sums[x]! += data[from + x]! * weight;
    });
    for (let x = 0; x < stride; x++) out[i * stride + x] = sums[x]! >> bits;
  }
  return new Uint8Array(out.buffer);
}

/** Ways to bring an image to another size, in 0-255, not rounded; by the name in a manifest's `preprocess`. */
export const resamplings: Readonly<Record<string, (image: Rgb, size: Size) => Float32Array>> = {
  bilinear: (image, size) => separable(image, size, triangle),
  bicubic: (image, size) => separable(image, size, cubic),
  area: (image, size) => area(image.data, image.size, size, 3),
};

function separable(image: Rgb, [height, width]: Size, filter: Filter): Float32Array {
  const [oldHeight, oldWidth] = image.size;
  let data: ArrayLike<number> = image.data;
  if (oldWidth !== width) data = rows(data, windows(oldWidth, width, filter), oldHeight, oldWidth, 3);
  if (oldHeight !== height) data = columns(data, windows(oldHeight, height, filter), 3 * width);
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/**
 * The mean of the pixels that each new one covers; where an axis grows, between the two pixels that a new one
 * touches by how much of each it does (OpenCV's `INTER_AREA`).
 */
export function area(data: ArrayLike<number>, size: Size, newSize: Size, channels: number): Float32Array {
  const shrinks = size[0] >= newSize[0] && size[1] >= newSize[1];
  const [y, x] = [0, 1].map((axis) =>
    (shrinks ? coverage : touching)(size[axis]!, newSize[axis]!),
  ) as [Windows, Windows];
  return columns(rows(data, x, size[0], size[1], channels), y, channels * newSize[1]);
}

function coverage(length: number, newLength: number): Windows {
  const scale = length / newLength;
  const first = new Int32Array(newLength);
  const weights: Float64Array[] = [];
  for (let i = 0; i < newLength; i++) {
    const [from, to] = [i * scale, Math.min((i + 1) * scale, length)];
    const start = Math.floor(from + 1e-6);
    const stop = Math.min(length, Math.max(start + 1, Math.ceil(to - 1e-6)));
    const window = new Float64Array(stop - start);
    for (let x = start; x < stop; x++) window[x - start] = (Math.min(to, x + 1) - Math.max(from, x)) / (to - from);
    first[i] = start;
    weights.push(window);
  }
  return { first, weights };
}

function touching(length: number, newLength: number): Windows {
  const scale = length / newLength;
  const first = new Int32Array(newLength);
  const weights: Float64Array[] = [];
  for (let i = 0; i < newLength; i++) {
    const left = Math.min(Math.floor(i * scale), length - 1);
    const beyond = i + 1 - (left + 1) / scale;
    const share = beyond <= 0 || left === length - 1 ? 0 : beyond - Math.floor(beyond);
    first[i] = left;
    weights.push(share ? Float64Array.of(1 - share, share) : Float64Array.of(1));
  }
  return { first, weights };
}

/** Along the lines: `[lines, length, channels]` to `[lines, new length, channels]`, in float32. */
function rows(data: ArrayLike<number>, axis: Windows, lines: number, length: number, channels: number): Float32Array {
  const newLength = axis.weights.length;
  const out = new Float32Array(lines * newLength * channels);
  let to = 0;
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < newLength; i++) {
      const window = axis.weights[i]!;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        let from = (line * length + axis.first[i]!) * channels + channel;
        for (let x = 0; x < window.length; x++, from += channels) sum += data[from]! * window[x]!;
        out[to++] = sum;
      }
    }
  }
  return out;
}

/** Across the lines, of `stride` values each. */
function columns(data: ArrayLike<number>, axis: Windows, stride: number): Float32Array {
  const out = new Float32Array(axis.weights.length * stride);
  const sums = new Float64Array(stride);
  axis.weights.forEach((window, i) => {
    sums.fill(0);
    window.forEach((weight, y) => {
      const from = (axis.first[i]! + y) * stride;
      for (let x = 0; x < stride; x++) sums[x]! += data[from + x]! * weight;
    });
    out.set(sums, i * stride);
  });
  return out;
}
