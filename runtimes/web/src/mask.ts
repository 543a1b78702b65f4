import type { Box, Point, Size, Transform } from "./geometry.js";
import { eachImageRow } from "./interpolation.js";
import { polygonsOf, type Polygon } from "./polygons.js";
import { Runs, type CocoRle } from "./rle.js";

/** A pixel is inside when its logit is above this. */
export const maskThreshold = 0;

/** What is known of a mask beside its pixels. */
export interface MaskFacts {
  /** Predicted IoU; it may be above 1. */
  readonly score: number;
  /** Index of the prompt that it answers; in whole-image mode that of the grid point. */
  readonly prompt: number;
  /** Whole-image mode: stability score, grid point in pixels of the image, and the crop it was found in. */
  readonly stability?: number;
  readonly point?: Point;
  readonly crop?: Box;
}

/** A mask as plain values, which a message to a worker can hold. */
export interface MaskData extends MaskFacts {
  readonly lowRes?: Float32Array;
  readonly transform?: Transform;
  readonly size?: Size;
  readonly counts?: Uint32Array;
}

/** A mask of an image; its pixels are made when they are asked for. */
export class Mask implements MaskFacts {
  readonly score: number;
  readonly prompt: number;
  readonly stability?: number;
  readonly point?: Point;
  readonly crop?: Box;
  /** Of the image. */
  readonly size: Size;
  /** Logits `S/4 x S/4`, as a later prompt's `mask`; none in whole-image mode. */
  readonly lowRes: Float32Array | undefined;
  private made: Runs | undefined;

  constructor(private readonly facts: MaskData) {
    this.score = facts.score;
    this.prompt = facts.prompt;
    if (facts.stability !== undefined) this.stability = facts.stability;
    if (facts.point) this.point = facts.point;
    if (facts.crop) this.crop = facts.crop;
    this.size = facts.transform?.original ?? facts.size!;
    this.lowRes = facts.lowRes;
    if (facts.counts) this.made = new Runs(this.size, facts.counts);
  }

  /** What the constructor takes again. */
  get data(): MaskData {
    return this.facts;
  }

  /** Run lengths, kept from then on. */
  private get runs(): Runs {
    return (this.made ??= Runs.encode(this.bitmap(), this.size));
  }

  /** COCO's compressed run lengths. */
  rle(): CocoRle {
    return this.runs.toCoco();
  }

  /** Number of pixels inside. */
  get area(): number {
    return this.runs.area;
  }

  /** First and last column and row with a pixel inside, x1 y1 x2 y2, both inclusive; zeros for an empty mask. */
  get box(): Box {
    return this.runs.box;
  }

  /** Height x width bytes, row by row, 1 inside. */
  bitmap(): Uint8Array {
    if (this.made) return this.made.decode();
    const { lowRes, transform } = this.facts;
    const width = this.size[1];
    const bitmap = new Uint8Array(this.size[0] * width);
    eachImageRow(lowRes!, Math.sqrt(lowRes!.length), transform!, (row, y) => {
      for (let x = 0; x < width; x++) if (row[x]! > maskThreshold) bitmap[y * width + x] = 1;
    });
    return bitmap;
  }

  /** Outlines on pixel corners; `epsilon` is how far simplification may move them, in pixels. */
  polygons(epsilon = 0): Polygon[] {
    return polygonsOf(this.bitmap(), this.size, epsilon);
  }

  /** Pixels inside in `colour` (RGBA, 0-255), the others transparent. */
  imageData(colour: readonly [number, number, number, number] = [30, 144, 255, 255]): ImageData {
    const bitmap = this.bitmap();
    const pixels = new Uint8ClampedArray(4 * bitmap.length);
    bitmap.forEach((inside, i) => inside && pixels.set(colour, 4 * i));
    const [height, width] = this.size;
    // Node has no ImageData of its own.
    return typeof ImageData === "undefined"
      ? ({ data: pixels, width, height, colorSpace: "srgb" } as ImageData)
      : new ImageData(pixels, width, height);
  }
}
