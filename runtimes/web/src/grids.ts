import type { Box, Point, Size } from "./geometry.js";
import { pointsAlong, type WholeImageSettings } from "./settings.js";

/** A part of the image: `box` x1 y1 x2 y2 (its end not included), and points in its own pixels. */
export interface Crop {
  readonly box: Box;
  readonly points: readonly Point[];
}

/** The image and its crops, each with its grid. */
export function makeCrops(size: Size, settings: WholeImageSettings): Crop[] {
  return cropBoxes(size, settings.cropNLayers, settings.cropOverlapRatio).flatMap(({ box, layer }) => {
    const grid = settings.pointGrids?.[layer] ?? pointGrid(pointsAlong(settings, layer));
    const [width, height] = [box[2] - box[0], box[3] - box[1]];
    // An image of few pixels has tiles without any.
    if (width <= 0 || height <= 0) return [];
    return [{ box, points: grid.map(([x, y]): Point => [x * width, y * height]) }];
  });
}

/** Cell centres of the unit square, row by row. */
export function pointGrid(side: number): Point[] {
  const half = 1 / (2 * side);
  // From both ends, as NumPy's linspace computes them.
  const step = side > 1 ? (1 - half - half) / (side - 1) : 0;
  const centres = Array.from({ length: side }, (_, i) => (side > 1 && i === side - 1 ? 1 - half : half + i * step));
  return centres.flatMap((y) => centres.map((x): Point => [x, y]));
}

/** The whole image, then per layer `i` a tiling of `2^i x 2^i`; neighbours overlap. */
export function cropBoxes([height, width]: Size, layers: number, overlapRatio: number): { box: Box; layer: number }[] {
  const boxes: { box: Box; layer: number }[] = [{ box: [0, 0, width, height], layer: 0 }];
  for (let layer = 1; layer <= layers; layer++) {
    const count = 2 ** layer;
    const overlap = Math.trunc(overlapRatio * Math.min(height, width) * (2 / count));
    const [cropWidth, cropHeight] = [width, height].map((length) => Math.ceil((overlap * (count - 1) + length) / count)) as [number, number];
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        const [x, y] = [(cropWidth - overlap) * i, (cropHeight - overlap) * j];
        boxes.push({ box: [x, y, Math.min(x + cropWidth, width), Math.min(y + cropHeight, height)], layer });
      }
    }
  }
  return boxes;
}
