import type { Size, Transform } from "./geometry.js";

/** Where the outputs of an axis read: between `first[i]` and the value behind it, `share[i]` of the way. */
interface Taps {
  readonly first: Int32Array;
  readonly second: Int32Array;
  readonly share: Float32Array;
}

/** Half-pixel centres; the outermost values go on beyond the ends. */
function taps(length: number, newLength: number): Taps {
  const first = new Int32Array(newLength);
  const second = new Int32Array(newLength);
  const share = new Float32Array(newLength);
  for (let i = 0; i < newLength; i++) {
    const centre = Math.fround((i + 0.5) * (length / newLength) - 0.5);
    const left = Math.min(Math.max(Math.floor(centre), 0), length - 1);
    first[i] = left;
    second[i] = Math.min(left + 1, length - 1);
    share[i] = Math.min(Math.max(centre - left, 0), 1);
  }
  return { first, second, share };
}

/**
 * Interpolate `values` of `size` bilinearly to `newSize`, in float32, and hand over row by row; the array that
 * `take` gets is used again for the next one.
 */
export function eachRow(
  values: Float32Array,
  size: Size,
  newSize: Size,
  take: (row: Float32Array, y: number) => void,
  stride: number = size[1],
): void {
  const [newHeight, newWidth] = newSize;
  const x = taps(size[1], newWidth);
  const y = taps(size[0], newHeight);
  const across = (line: number, out: Float32Array): Float32Array => {
    const start = line * stride;
    for (let i = 0; i < newWidth; i++) {
      const share = x.share[i]!;
      out[i] = values[start + x.first[i]!]! * (1 - share) + values[start + x.second[i]!]! * share;
    }
    return out;
  };
  let upper = new Float32Array(newWidth);
  let lower = new Float32Array(newWidth);
  let upperLine = -1;
  let lowerLine = -1;
  const row = new Float32Array(newWidth);
  for (let i = 0; i < newHeight; i++) {
    const first = y.first[i]!;
    const second = y.second[i]!;
    if (first === lowerLine) {
      [upper, lower, upperLine, lowerLine] = [lower, upper, lowerLine, upperLine];
    }
    if (first !== upperLine) {
      across(first, upper);
      upperLine = first;
    }
    if (second !== lowerLine) {
      across(second, lower);
      lowerLine = second;
    }
    const share = y.share[i]!;
    for (let j = 0; j < newWidth; j++) row[j] = upper[j]! * (1 - share) + lower[j]! * share;
    take(row, i);
  }
}

/** {@link eachRow}, all at once. */
export function interpolated(values: Float32Array, size: Size, newSize: Size): Float32Array {
  const out = new Float32Array(newSize[0] * newSize[1]);
  eachRow(values, size, newSize, (row, y) => out.set(row, y * newSize[1]));
  return out;
}

/** Low-res logits of one mask, `side x side`, in the frame of the image, row by row. */
export function eachImageRow(
  logits: Float32Array,
  side: number,
  transform: Transform,
  take: (row: Float32Array, y: number) => void,
): void {
  const { original, input, imageSize } = transform;
  if (transform.oneStep) {
    eachRow(logits, [side, side], original, take);
    return;
  }
  const full = interpolated(logits, [side, side], [imageSize, imageSize]);
  eachRow(full, input, original, take, imageSize);
}
