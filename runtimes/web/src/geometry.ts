/**
 * How pixels of an image map to pixels of the encoder input: the picture is resized to `input`, of which SAM
 * makes the longer side `S` and pads the rest; SAM 2 and others stretch it to `S x S`. Low-res logits are this
 * frame at a quarter of its resolution.
 */
export type Size = readonly [height: number, width: number];
export type Point = readonly [x: number, y: number];
export type Box = readonly [x1: number, y1: number, x2: number, y2: number];

export interface Transform {
  /** Of the image. */
  readonly original: Size;
  /** Of the image inside the encoder input, without padding. */
  readonly input: Size;
  /** Side `S` of the encoder input. */
  readonly imageSize: number;
  /** Logits go to the image in one interpolation instead of two, by way of the input. */
  readonly oneStep: boolean;
}

/** The longer side becomes `S`; halves round up, and no side is below one pixel. */
export function fit(original: Size, imageSize: number): Transform {
  const scale = imageSize / Math.max(...original);
  const [height, width] = original.map((side) => Math.max(1, Math.floor(side * scale + 0.5))) as [number, number];
  return { original, input: [height, width], imageSize, oneStep: false };
}

/** Stretched to `S x S`, whatever the sides are. */
export function square(original: Size, imageSize: number): Transform {
  return { original, input: [imageSize, imageSize], imageSize, oneStep: true };
}

/** Whether low-res logits of the one mean the same in the other. */
export function sameFrame(a: Transform, b: Transform): boolean {
  const { input, imageSize, oneStep } = a;
  return imageSize === b.imageSize && oneStep === b.oneStep && input.every((side, i) => side === b.input[i]);
}

/** A point of the image in pixels of the encoder input. */
export function toInput(transform: Transform, [x, y]: Point): Point {
  const { original, input } = transform;
  return [x * (input[1] / original[1]), y * (input[0] / original[0])];
}

/** Size of the part of low-res logits that is not all padding. */
export function lowResSize(transform: Transform): Size {
  return [Math.ceil(transform.input[0] / 4), Math.ceil(transform.input[1] / 4)];
}
