import { Runs, type CocoRle } from "../../src/rle";
import type { Box } from "./types";

/** The part of a mask that holds all of it: `bits` are 1 inside, row by row. */
export interface Crop {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly bits: Uint8Array;
  readonly area: number;
}

/** The part of a mask that is set; nothing where none is. */
export function cropOf(rle: CocoRle): Crop | null {
  const { area, box, counts } = Runs.fromCoco(rle);
  if (!area) return null;
  const [x, y, x2, y2] = box;
  const [width, height] = [x2 - x + 1, y2 - y + 1];
  const bits = new Uint8Array(width * height);
  const [rows] = rle.size;
  let at = 0;
  counts.forEach((count, index) => {
    const end = at + count;
    for (; index % 2 && at < end; at++) {
      bits[((at % rows) - y) * width + Math.floor(at / rows) - x] = 1;
    }
    at = end;
  });
  return { x, y, width, height, bits, area };
}

export function boxOf(crop: Crop): Box {
  return [crop.x, crop.y, crop.x + crop.width - 1, crop.y + crop.height - 1];
}

/** Whether a mask has the pixel at a point. */
export function holds(crop: Crop, x: number, y: number): boolean {
  const [column, row] = [Math.floor(x) - crop.x, Math.floor(y) - crop.y];
  const inside = column >= 0 && row >= 0 && column < crop.width && row < crop.height;
  return inside && crop.bits[row * crop.width + column] === 1;
}
