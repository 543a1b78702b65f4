/** Index of the largest value of `values` from `start` to `stop`; the first of several. */
export function argmax(values: ArrayLike<number>, start: number, stop: number): number {
  let best = start;
  for (let i = start + 1; i < stop; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** The product of a shape's sides. */
export function product(sides: readonly number[]): number {
  return sides.reduce((a, b) => a * b, 1);
}
