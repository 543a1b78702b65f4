import { argmax } from "./arrays.js";
import { maskThreshold } from "./mask.js";

/** SAM 2's shift of the threshold, in logits, and the score from which on its single-mask output answers. */
const [offsetOfOne, leastOfOne] = [0.05, Math.fround(0.98)];

/** IoU of a mask at the threshold plus and minus `offset`; not a number where nothing is above the lower one. */
export function stabilityScore(logits: Float32Array, offset: number): number {
  const [upper, lower] = [maskThreshold + offset, maskThreshold - offset];
  let [inner, outer] = [0, 0];
  for (const logit of logits) {
    if (logit > upper) inner++;
    if (logit > lower) outer++;
  }
  return inner / outer;
}

/** Which of a prompt's four masks answers when one is asked for. */
export function singleMask(stable: boolean, logits: Float32Array, iou: Float32Array): number {
  if (!stable) return 0;
  const score = stabilityScore(logits.subarray(0, logits.length / iou.length), offsetOfOne);
  // An empty mask is as stable as can be.
  return Number.isNaN(score) || Math.fround(score) >= leastOfOne ? 0 : argmax(iou, 1, iou.length);
}
