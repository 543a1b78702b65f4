import type { Box, Size } from "./geometry.js";

const sides = ([x1, y1, x2, y2]: Box): readonly [number, number] => [x2 - x1, y2 - y1];
const areaOf = (box: Box): number => sides(box)[0] * sides(box)[1];

function overlap(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(0, width) * Math.max(0, height);
}

/** IoU of two boxes, widths times heights without a pixel added; not a number where both have no area. */
export function boxIou(a: Box, b: Box): number {
  const shared = overlap(a, b);
  // In single precision like the reference's, so that ties fall alike.
  return Math.fround(shared / Math.fround(areaOf(a) + areaOf(b) - shared));
}

/** A lower bound of the IoU with `box` of a box that holds `inner` and lies in `outer`. */
export function leastIou(inner: Box, outer: Box, box: Box): number {
  const shared = overlap(inner, box);
  return shared / Math.max(areaOf(outer) + areaOf(box) - shared, 1);
}

/** Greedy non-maximum suppression: indices of what is kept, best first; ties keep their order. */
export function nms(boxes: readonly Box[], scores: readonly number[], threshold: number): number[] {
  const kept: number[] = [];
  for (const i of byScore(scores)) {
    if (!kept.some((better) => boxIou(boxes[better]!, boxes[i]!) > threshold)) kept.push(i);
  }
  return kept;
}

/** Indices, largest score first; a stable sort. */
export function byScore(scores: readonly number[]): number[] {
  return scores.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]!);
}

const margin = 20;

/** Whether a box in image pixels touches an edge of the crop but not of the image: another crop sees it whole. */
export function nearCropEdge(box: Box, crop: Box, [height, width]: Size): boolean {
  const image = [0, 0, width, height];
  return box.some((side, i) => Math.abs(side - crop[i]!) <= margin && Math.abs(side - image[i]!) > margin);
}
