import type { Box, Size } from "./geometry.js";
import { InputError } from "./errors.js";

/** A mask in COCO's compressed form. */
export interface CocoRle {
  size: [height: number, width: number];
  counts: string;
}

/** Alternating runs down the columns of a mask, the first of them outside (of length 0 where a mask starts inside). */
export class Runs {
  constructor(
    readonly size: Size,
    readonly counts: Uint32Array,
  ) {}

  /** Encode a bitmap, row by row, with 0 outside. */
  static encode(bitmap: Uint8Array, size: Size): Runs {
    return Runs.encodePart(bitmap, size, [0, 0], size);
  }

  /** Encode a mask of `size` that is `part`, with its first pixel at `corner` (y, x), and empty elsewhere. */
  static encodePart(part: Uint8Array, partSize: Size, corner: readonly [number, number], size: Size): Runs {
    const [height, width] = partSize;
    const bounds: number[] = [];
    for (let x = 0; x < width; x++) {
      const start = (x + corner[1]) * size[0] + corner[0];
      let inside = 0;
      for (let y = 0; y <= height; y++) {
        const pixel = y < height && part[y * width + x] ? 1 : 0;
        if (pixel === inside) continue;
        inside = pixel;
        const at = start + y;
        // A run to the foot of a column goes on at the head of the next.
        if (inside && bounds.length && bounds[bounds.length - 1] === at) bounds.pop();
        else bounds.push(at);
      }
    }
    const total = size[0] * size[1];
    if (bounds[bounds.length - 1] !== total) bounds.push(total);
    const counts = new Uint32Array(bounds.length);
    let before = 0;
    bounds.forEach((bound, i) => {
      counts[i] = bound - before;
      before = bound;
    });
    return new Runs(size, counts);
  }

  /** Read COCO's compressed form. */
  static fromCoco(rle: CocoRle): Runs {
    const counts = decompress(rle.counts);
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (counts.some((count) => count < 0) || total !== rle.size[0] * rle.size[1]) {
      throw new InputError(`RLE counts cover ${total} pixels; expected ${rle.size[0]} x ${rle.size[1]} in runs >= 0.`);
    }
    return new Runs(rle.size, Uint32Array.from(counts));
  }

  toCoco(): CocoRle {
    return { size: [this.size[0], this.size[1]], counts: compress(this.counts) };
  }

  /** The bitmap, row by row, 1 inside. */
  decode(): Uint8Array {
    const [height, width] = this.size;
    const bitmap = new Uint8Array(height * width);
    let at = 0;
    this.counts.forEach((count, i) => {
      if (i % 2) {
        for (let p = at; p < at + count; p++) bitmap[(p % height) * width + Math.floor(p / height)] = 1;
      }
      at += count;
    });
    return bitmap;
  }

  /** Number of pixels inside. */
  get area(): number {
    let sum = 0;
    for (let i = 1; i < this.counts.length; i += 2) sum += this.counts[i]!;
    return sum;
  }

  /** First and last column and row with a pixel inside, both inclusive; zeros for an empty mask. */
  get box(): Box {
    const [height] = this.size;
    let [left, right, top, bottom] = [-1, -1, height, -1];
    let at = 0;
    this.counts.forEach((count, i) => {
      if (i % 2 && count) {
        const last = at + count - 1;
        const column = Math.floor(at / height);
        const lastColumn = Math.floor(last / height);
        if (left < 0) left = column;
        right = lastColumn;
        const around = column !== lastColumn;
        top = Math.min(top, around ? 0 : at % height);
        bottom = Math.max(bottom, around ? height - 1 : last % height);
      }
      at += count;
    });
    return left < 0 ? [0, 0, 0, 0] : [left, top, right, bottom];
  }
}

/** Each count, or from the fourth on its difference to the one two before, in groups of five bits, lowest first. */
function compress(counts: Uint32Array): string {
  let text = "";
  counts.forEach((count, i) => {
    let value = i > 2 ? count - counts[i - 2]! : count;
    for (;;) {
      const group = value & 31;
      value >>= 5;
      // Finished when the sign bit of this group says the rest.
      const done = value === (group & 16 ? -1 : 0);
      text += String.fromCharCode(48 + (done ? group : group | 32));
      if (done) break;
    }
  });
  return text;
}

function decompress(text: string): number[] {
  const counts: number[] = [];
  let value = 0;
  let shift = 0;
  for (const character of text) {
    const group = character.charCodeAt(0) - 48;
    if (!(group >= 0 && group < 64)) {
      throw new InputError(`RLE counts hold '${character}'; expected COCO's compressed form.`);
    }
    value += (group & 31) * 2 ** shift;
    shift += 5;
    if (group & 32) continue;
    if (group & 16) value -= 2 ** shift;
    counts.push(value + (counts.length > 2 ? counts[counts.length - 2]! : 0));
    value = shift = 0;
  }
  if (shift) throw new InputError("RLE counts end inside a number; expected COCO's compressed form.");
  return counts;
}
