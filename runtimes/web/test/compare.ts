import { expect } from "vitest";
import type { CocoRle } from "../src/index.js";
import { Runs } from "../src/rle.js";
import type { Answered } from "./cases.js";

/** Pixels in which two masks differ. */
export function difference(a: CocoRle, b: CocoRle): number {
  const [first, second] = [a, b].map((rle) => Runs.fromCoco(rle).decode()) as [Uint8Array, Uint8Array];
  return first.reduce((sum, inside, i) => sum + (inside ^ second[i]!), 0);
}

/** Masks of prompts are Python's: at most two pixels differ in each, and ratings by 0.001. */
export function expectSame(found: readonly Answered[], expected: readonly Answered[], pixels = 2): void {
  expect(found.map(({ prompt }) => prompt)).toEqual(expected.map(({ prompt }) => prompt));
  expected.forEach((mask, i) => {
    expect(difference(found[i]!.rle, mask.rle), `pixels of mask ${i}`).toBeLessThanOrEqual(pixels);
    expect(Math.abs(found[i]!.score - mask.score), `score of mask ${i}`).toBeLessThanOrEqual(1e-3);
  });
}

/**
 * A list of whole-image masks is Python's, whatever the order of those with almost the same rating: which masks are
 * missing, and which are there beside.
 */
export function expectSameList(found: readonly Answered[], expected: readonly Answered[], pixels = 2): void {
  const left = [...found];
  const missing = expected.filter((mask) => {
    const i = left.findIndex(
      (other) =>
        other.prompt === mask.prompt && Math.abs(other.score - mask.score) <= 1e-3 && difference(other.rle, mask.rle) <= pixels,
    );
    if (i >= 0) left.splice(i, 1);
    return i < 0;
  });
  const shown = (masks: readonly Answered[]): string[] => masks.map(({ score, prompt, stability }) => `${prompt} ${score} ${stability}`);
  expect({ missing: shown(missing), beside: shown(left) }).toEqual({ missing: [], beside: [] });
}
