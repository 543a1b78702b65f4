import type { Confident } from "./asking.js";
import { boxIou, byScore, leastIou, nearCropEdge } from "./boxes.js";
import type { Box, Point, Size, Transform } from "./geometry.js";
import type { Crop } from "./grids.js";
import { eachImageRow } from "./interpolation.js";
import { maskThreshold } from "./mask.js";
import { Runs } from "./rle.js";
import type { WholeImageSettings } from "./settings.js";
import { Upscaler, type Patch } from "./upscaling.js";

/** A mask, run lengths or still a patch of logits, and what is known of it; boxes and points in image pixels. */
export interface Candidate {
  readonly mask: Runs | Patch;
  readonly box: Box;
  readonly score: number;
  readonly stability: number;
  readonly point: Point;
  /** Index of the grid point among those of all crops. */
  readonly prompt: number;
  readonly crop: Box;
}

/** What a point of a crop was answered with. */
export interface Decoded extends Confident {
  /** In pixels of the crop. */
  readonly point: Point;
  readonly prompt: number;
}

/** Memory of masks that are still logits. */
export function logitBytes({ mask }: Candidate): number {
  return mask instanceof Runs ? 0 : mask.logits.byteLength;
}

/** The filters that look at one mask at a time, and then at those of one crop together. */
export class Selector {
  private readonly upscaler: Upscaler;

  constructor(
    private readonly crop: Crop,
    private readonly transform: Transform,
    private readonly imageSize: Size,
    private readonly settings: WholeImageSettings,
  ) {
    this.upscaler = new Upscaler(transform);
  }

  /** Those that are stable and not cut off by the crop. */
  select(decoded: readonly Decoded[]): Candidate[] {
    const judge = this.settings.exact ? this.exact : this.lowRes;
    return decoded.flatMap((each) => judge.call(this, each) ?? []);
  }

  /** The same with its mask as run lengths, and the box of its pixels. */
  encode(candidate: Candidate): Candidate & { mask: Runs } {
    const { mask } = candidate;
    const runs = mask instanceof Runs ? mask : this.upscaler.encode(mask, [this.crop.box[1], this.crop.box[0]], this.imageSize);
    return { ...candidate, mask: runs, box: runs.box };
  }

  /**
   * All but those that a better one overlaps, best first. Boxes of logits are outer bounds: a candidate is passed
   * by when it is a duplicate whatever its box is within bounds; else its mask is made, and its own box decides.
   */
  best(found: readonly Candidate[]): (Candidate & { mask: Runs })[] {
    const threshold = this.settings.nmsThresh;
    const kept: (Candidate & { mask: Runs })[] = [];
    for (const i of byScore(found.map(({ score }) => score))) {
      const candidate = found[i]!;
      const near = kept.filter(({ box }) => boxIou(candidate.box, box) > threshold);
      if (near.length) {
        const inner = this.innerBox(candidate);
        if (near.some(({ box }) => leastIou(inner, candidate.box, box) > threshold)) continue;
      }
      const one = this.encode(candidate);
      if (!kept.some(({ box }) => boxIou(one.box, box) > threshold)) kept.push(one);
    }
    return kept;
  }

  /** Judged on low-res logits; only where these leave a doubt the mask is made. */
  private lowRes(decoded: Decoded): Candidate | undefined {
    const { stabilityScoreThresh: least, stabilityScoreOffset: offset } = this.settings;
    const [estimate, doubt] = this.upscaler.estimateStability(decoded.logits, offset);
    const close = least > 0 && Math.abs(estimate - least) <= doubt;
    const stability = close ? Math.fround(this.upscaler.stability(decoded.logits, offset)) : estimate;
    if (!this.isSteady(stability)) return undefined;
    const candidate = this.candidate(decoded, this.upscaler.cut(decoded.logits), this.moved(this.upscaler.box(decoded.logits)), stability);
    if (!this.isCutOff(candidate.box)) return candidate;
    // The box may be too large: the mask's own tells.
    const made = this.encode(candidate);
    return made.mask.area && !this.isCutOff(made.box) ? made : undefined;
  }

  /** Judged at the crop's full size, for which every mask is made. */
  private exact(decoded: Decoded): Candidate | undefined {
    const [height, width] = this.transform.original;
    const offset = this.settings.stabilityScoreOffset;
    const bitmap = new Uint8Array(height * width);
    let [inner, outer] = [0, 0];
    eachImageRow(decoded.logits, Math.sqrt(decoded.logits.length), this.transform, (row, y) => {
      for (let x = 0; x < width; x++) {
        const logit = row[x]!;
        if (logit > maskThreshold + offset) inner++;
        if (logit > maskThreshold - offset) outer++;
        if (logit > maskThreshold) bitmap[y * width + x] = 1;
      }
    });
    const stability = Math.fround(inner / outer);
    if (!this.isSteady(stability)) return undefined;
    const [left, top] = this.crop.box;
    const box = this.moved(Runs.encode(bitmap, [height, width]).box);
    if (this.isCutOff(box)) return undefined;
    const runs = Runs.encodePart(bitmap, [height, width], [top, left], this.imageSize);
    return this.candidate(decoded, runs, box, stability);
  }

  /** A box that the box of a mask holds, as `candidate.box` holds it. */
  private innerBox({ mask, box }: Candidate): Box {
    return mask instanceof Runs ? box : this.moved(this.upscaler.innerBox(mask));
  }

  private candidate(decoded: Decoded, mask: Runs | Patch, box: Box, stability: number): Candidate {
    const [left, top] = this.crop.box;
    const [x, y] = decoded.point;
    return { mask, box, score: decoded.iou, stability, point: [x + left, y + top], prompt: decoded.prompt, crop: this.crop.box };
  }

  private moved([x1, y1, x2, y2]: Box): Box {
    const [left, top] = this.crop.box;
    return [x1 + left, y1 + top, x2 + left, y2 + top];
  }

  private isSteady(score: number): boolean {
    const least = this.settings.stabilityScoreThresh;
    return least <= 0 || score >= Math.fround(least);
  }

  private isCutOff(box: Box): boolean {
    return nearCropEdge(box, this.crop.box, this.imageSize);
  }
}
