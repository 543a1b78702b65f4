import { lowResSize, type Box, type Size, type Transform } from "./geometry.js";
import { maskThreshold } from "./mask.js";
import { Runs } from "./rle.js";

/**
 * The part of the logits that a mask depends on, a copy: its first cell is `cell` (y, x), and it reaches the
 * `rows` and `columns` (start, stop) of the image.
 */
export interface Patch {
  readonly logits: Float32Array;
  readonly size: Size;
  readonly cell: readonly [number, number];
  readonly rows: readonly [number, number];
  readonly columns: readonly [number, number];
}

/** x1 y1 x2 y2, the last ones included, in cells of low-res logits. */
type CellBox = readonly [number, number, number, number];

/** Input pixels along a cell. */
const cellSide = 4;
/** How much of the squares that outlines pass may be on the wrong side, where a cell has `fine` pixels or more. */
const [rimError, fine] = [0.02, 4];

/**
 * Low-res logits of one transform to masks in the image, only for the part that a mask can reach: interpolation is
 * linear along each axis, and where all logits that a pixel depends on are negative it is outside.
 */
export class Upscaler {
  private readonly rows: Axis;
  private readonly columns: Axis;
  private readonly cells: Size;
  private readonly sides: readonly [Float32Array, Float32Array];
  private readonly rimError: number;
  private readonly side: number;

  constructor(transform: Transform) {
    this.side = transform.imageSize / cellSide;
    const [rows, columns] = [0, 1].map((axis) => new Axis(toImage(transform, axis as 0 | 1))) as [Axis, Axis];
    [this.rows, this.columns] = [rows, columns];
    this.cells = lowResSize(transform);
    this.sides = [squareSides(transform.input[0]), squareSides(transform.input[1])];
    const pixels = Math.min(...[0, 1].map((axis) => transform.original[axis]! / transform.input[axis]!)) * cellSide;
    this.rimError = rimError * Math.max(1, fine / pixels);
  }

  /** Box of the mask of `side x side` logits without making it: it may be too large, never too small. */
  box(logits: Float32Array): Box {
    const { side } = this;
    const [lines, stacks] = [new Float32Array(side).fill(-Infinity), new Float32Array(side).fill(-Infinity)];
    for (let y = 0, i = 0; y < side; y++) {
      for (let x = 0; x < side; x++, i++) {
        const value = logits[i]!;
        if (value > lines[y]!) lines[y] = value;
        if (value > stacks[x]!) stacks[x] = value;
      }
    }
    const [x, y] = [this.columns.span(stacks), this.rows.span(lines)];
    return x && y ? [x[0], y[0], x[1], y[1]] : [0, 0, 0, 0];
  }

  /** A box that the box of the mask holds: of the pixels that read only squares of four positive logits. */
  innerBox({ logits, size: [height, width], cell }: Patch): Box {
    const none: Box = [0, 0, 0, 0];
    if (!this.rows.dense || !this.columns.dense) return none;
    let [x1, y1, x2, y2] = [width, height, -1, -1];
    for (let y = 0; y + 1 < height; y++) {
      for (let x = 0; x + 1 < width; x++) {
        const i = y * width + x;
        const inside =
          logits[i]! > maskThreshold &&
          logits[i + 1]! > maskThreshold &&
          logits[i + width]! > maskThreshold &&
          logits[i + width + 1]! > maskThreshold;
        if (!inside) continue;
        [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x), Math.max(y2, y)];
      }
    }
    if (x2 < 0) return none;
    return [
      this.columns.starts[cell[1] + x1]!,
      this.rows.starts[cell[0] + y1]!,
      this.columns.stops[cell[1] + x2]! - 1,
      this.rows.stops[cell[0] + y2]! - 1,
    ];
  }

  /** The patch that holds all logits above `threshold` in the first rows and columns, without padding by default. */
  cut(logits: Float32Array, threshold = maskThreshold, within = this.cells): Patch {
    const [x1, y1, x2, y2] = this.cellBox(logits, threshold, within);
    const [rows, columns] = [this.rows.outputs(y1, y2), this.columns.outputs(x1, x2)];
    const [y, x] = [this.rows.cells(...rows), this.columns.cells(...columns)];
    const size: Size = [y[1] - y[0], x[1] - x[0]];
    const part = new Float32Array(size[0] * size[1]);
    for (let line = 0; line < size[0]; line++) {
      const from = (y[0] + line) * this.side;
      part.set(logits.subarray(from + x[0], from + x[1]), line * size[1]);
    }
    return { logits: part, size, cell: [y[0], x[0]], rows, columns };
  }

  /** The mask as run lengths; `origin` (y, x) is where this image lies in a larger one of `size`. */
  encode(patch: Patch, origin: readonly [number, number], size: Size): Runs {
    const partSize: Size = [patch.rows[1] - patch.rows[0], patch.columns[1] - patch.columns[0]];
    return Runs.encodePart(this.mask(patch), partSize, [patch.rows[0] + origin[0], patch.columns[0] + origin[1]], size);
  }

  /** Stability score of one mask at image size. */
  stability(logits: Float32Array, offset: number): number {
    const patch = this.cut(logits, maskThreshold - offset, [this.side, this.side]);
    const [inner, outer] = [offset, -offset].map((shift) =>
      this.mask(patch, maskThreshold + shift).reduce((sum, inside) => sum + inside, 0),
    ) as [number, number];
    return outer ? inner / outer : NaN;
  }

  /**
   * Estimate {@link stability}, and how far off that may be. An outline lies in squares of four neighbouring
   * logits; of each, the part inside is taken to be the positive part of its corners.
   */
  estimateStability(logits: Float32Array, offset: number): readonly [score: number, doubt: number] {
    const [inner, innerRim] = this.areas(logits, maskThreshold + offset);
    const [outer, outerRim] = this.areas(logits, maskThreshold - offset);
    return [Math.fround(inner / outer), Math.fround((this.rimError * (innerRim + outerRim)) / outer)];
  }

  /** Where logits are above a threshold in the rows and columns of the patch, row by row, 1 inside. */
  mask(patch: Patch, threshold = maskThreshold): Uint8Array {
    const [[top, bottom], [left, right]] = [patch.rows, patch.columns];
    const cells = patch.size[1];
    const width = right - left;
    const mask = new Uint8Array((bottom - top) * width);
    const line = new Float32Array(cells);
    for (let y = top; y < bottom; y++) {
      const weights = this.rows.weights[y]!;
      const from = (this.rows.first[y]! - patch.cell[0]) * cells;
      for (let x = 0; x < cells; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k]! * patch.logits[from + k * cells + x]!;
        line[x] = sum;
      }
      const to = (y - top) * width - left;
      for (let x = left; x < right; x++) {
        const across = this.columns.weights[x]!;
        const start = this.columns.first[x]! - patch.cell[1];
        let sum = 0;
        for (let k = 0; k < across.length; k++) sum += across[k]! * line[start + k]!;
        if (Math.fround(sum) > threshold) mask[to + x] = 1;
      }
    }
    return mask;
  }

  /** First and last column and row of the logits above a threshold; zeros where there are none. */
  private cellBox(logits: Float32Array, threshold: number, [height, width]: Size): CellBox {
    let [x1, y1, x2, y2] = [width, height, -1, -1];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (!(logits[y * this.side + x]! > threshold)) continue;
        if (x < x1) x1 = x;
        if (x > x2) x2 = x;
        if (y < y1) y1 = y;
        y2 = y;
      }
    }
    return x2 < 0 ? [0, 0, 0, 0] : [x1, y1, x2, y2];
  }

  /** Areas above a threshold, and of the squares that outlines pass, in cells. */
  private areas(logits: Float32Array, threshold: number): readonly [area: number, rim: number] {
    const [height, width] = this.cells;
    const [rows, columns] = this.sides;
    let [area, rim] = [0, 0];
    for (let y = 0; y <= height; y++) {
      // The outermost logits go on to the border.
      const upper = Math.max(y - 1, 0) * this.side;
      const lower = Math.min(y, height - 1) * this.side;
      for (let x = 0; x <= width; x++) {
        const [left, right] = [Math.max(x - 1, 0), Math.min(x, width - 1)];
        const a = logits[upper + left]! - threshold;
        const b = logits[upper + right]! - threshold;
        const c = logits[lower + left]! - threshold;
        const d = logits[lower + right]! - threshold;
        const square = rows[y]! * columns[x]!;
        if (a > 0 && b > 0 && c > 0 && d > 0) {
          area += square;
        } else if (a > 0 || b > 0 || c > 0 || d > 0) {
          const positive = Math.max(a, 0) + Math.max(b, 0) + Math.max(c, 0) + Math.max(d, 0);
          area += (square * positive) / (Math.abs(a) + Math.abs(b) + Math.abs(c) + Math.abs(d));
          rim += square;
        }
      }
    }
    return [area, rim];
  }
}

/** Of an axis of `length` input pixels, how much lies between the centres of neighbouring cells and at the ends. */
function squareSides(length: number): Float32Array {
  const centres = Array.from({ length: Math.ceil(length / cellSide) }, (_, i) => i * cellSide + cellSide / 2);
  const ends = [0, ...centres, length].map((end) => Math.min(end, length));
  return Float32Array.from(ends.slice(1), (end, i) => (end - ends[i]!) / cellSide);
}

/** Per output of an axis of the image what it takes of every cell, in float32. */
function toImage(transform: Transform, axis: 0 | 1): Map<number, number>[] {
  const cells = transform.imageSize / cellSide;
  const [length, valid] = [transform.original[axis], transform.input[axis]];
  if (transform.oneStep) return interpolation(cells, length);
  const toInput = interpolation(cells, transform.imageSize);
  return interpolation(valid, length).map((taps) => {
    const weights = new Map<number, number>();
    for (const [pixel, share] of taps) {
      for (const [cell, weight] of toInput[pixel]!) weights.set(cell, (weights.get(cell) ?? 0) + share * weight);
    }
    return new Map([...weights].map(([cell, weight]) => [cell, Math.fround(weight)]));
  });
}

/** Half-pixel centres, the outermost values continued beyond the ends. */
function interpolation(length: number, newLength: number): Map<number, number>[] {
  return Array.from({ length: newLength }, (_, i) => {
    const centre = Math.min(Math.max((i + 0.5) * (length / newLength) - 0.5, 0), length - 1);
    const left = Math.min(Math.trunc(centre), Math.max(0, length - 2));
    const share = centre - left;
    const taps = new Map([[left, Math.fround(1 - share)]]);
    if (share > 0) taps.set(left + 1, Math.fround(share));
    return taps;
  });
}

/**
 * Output `i` of an axis reads the cells from `first[i]` on with `weights[i]`. The outputs from `starts[c]` to
 * `stops[c]` read the cells `c` and `c + 1` alone; where the axis is `dense`, there are such for every `c`.
 */
class Axis {
  readonly first: Int32Array;
  readonly weights: readonly Float32Array[];
  readonly starts: Int32Array;
  readonly stops: Int32Array;
  readonly dense: boolean;
  private readonly last: Int32Array;

  constructor(outputs: readonly Map<number, number>[]) {
    const used = outputs.map((taps) => [...taps].filter(([, weight]) => weight).map(([cell]) => cell));
    this.first = Int32Array.from(used, (cells) => Math.min(...cells));
    this.last = Int32Array.from(used, (cells) => Math.max(...cells));
    this.weights = outputs.map((taps, i) =>
      Float32Array.from({ length: this.last[i]! - this.first[i]! + 1 }, (_, k) => taps.get(this.first[i]! + k) ?? 0),
    );
    const pairs = this.last.reduce((a, b) => Math.max(a, b), 0);
    this.starts = Int32Array.from({ length: pairs }, (_, c) => below(this.first, c));
    this.stops = Int32Array.from({ length: pairs }, (_, c) => below(this.last, c + 2));
    this.dense = this.starts.every((start, c) => start < this.stops[c]!);
  }

  /** Start and stop of the outputs that read any of the cells `from` to `to`. */
  outputs(from: number, to: number): readonly [number, number] {
    const start = below(this.last, from);
    return [start, Math.max(start, below(this.first, to + 1))];
  }

  /** Start and stop of the cells that the outputs from `start` to `stop` read. */
  cells(start: number, stop: number): readonly [number, number] {
    // A small image does not read every cell.
    return start === stop ? [0, 0] : [this.first[start]!, this.last[stop - 1]! + 1];
  }

  /** First and last output above the threshold, of values of the cells. */
  span(values: Float32Array): readonly [number, number] | undefined {
    const above = (i: number): boolean => {
      let sum = 0;
      this.weights[i]!.forEach((weight, k) => (sum += weight * values[this.first[i]! + k]!));
      return Math.fround(sum) > maskThreshold;
    };
    let [start, stop] = [0, this.weights.length - 1];
    while (start <= stop && !above(start)) start++;
    while (stop > start && !above(stop)) stop--;
    return start <= stop ? [start, stop] : undefined;
  }
}

/** How many values of a sorted array are below a limit. */
function below(sorted: Int32Array, limit: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
