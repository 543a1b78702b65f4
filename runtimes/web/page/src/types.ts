import type { Box, Point } from "../../src/geometry";
import type { CocoRle } from "../../src/rle";

/** Points are x and y in pixels of the picture, boxes x1, y1, x2, y2. */
export type { Box, Point };

/** What the model is asked: labels are 1 for "of the object" and 0 for "not of it". */
export interface Prompt {
  readonly points: readonly Point[];
  readonly labels: readonly (0 | 1)[];
  readonly box?: Box;
}

/** What it answers. */
export interface Answer {
  readonly rle: CocoRle;
  readonly score: number;
}
