import { InputError } from "./errors.js";
import { sameFrame, toInput, type Box, type Point, type Size, type Transform } from "./geometry.js";
import type { Floats } from "./graph.js";
import { Mask } from "./mask.js";
import { area } from "./resize.js";

/** A request for one mask; any combination of the fields, at least one. Coordinates are pixels of the image. */
export interface Prompt {
  points?: readonly Point[];
  /** 1 (foreground) or 0 (background) per point; all foreground when left out. */
  labels?: readonly number[];
  box?: Box;
  /** An earlier answer, low-res logits (`S/4 x S/4` floats), or a bitmap at image size (bytes, 0 outside). */
  mask?: Mask | Float32Array | Uint8Array;
}

/** Several prompts by columns: `points` and `boxes` of the same length are paired. */
export interface Prompts {
  points?: readonly (readonly Point[])[];
  labels?: readonly (readonly number[])[];
  boxes?: readonly Box[];
  masks?: readonly NonNullable<Prompt["mask"]>[];
}

/** What the decoder takes of a batch of prompts. */
export interface Feeds {
  readonly count: number;
  /** Token slots of each prompt. */
  readonly slots: number;
  readonly point_coords: Floats;
  readonly point_labels: Floats;
  readonly mask_input: Floats;
  readonly has_mask_input: Floats;
  readonly masked: boolean;
}

/** Rules of a family, see families.ts. */
export interface PromptRules {
  readonly alwaysPadded: boolean;
  readonly largestLogit: number;
}

/** No token at all, and SAM's "not a point". */
export const [absent, padding] = [-2, -1];
export const [background, foreground, topLeft, bottomRight] = [0, 1, 2, 3];
const binaryLogit = 8;
/** Boxes of detectors may end this many pixels beyond the image; what is beyond is cut off. */
const boxSlack = 1;

type Token = readonly [x: number, y: number, label: number];

/** A list of prompts, of whatever form they come in. */
export function promptList(given: Prompt | readonly Prompt[] | Prompts): readonly Prompt[] {
  if (Array.isArray(given)) return given as readonly Prompt[];
  const { points, labels, boxes, masks } = given as Prompts;
  const one = (points as readonly unknown[] | undefined)?.[0];
  const nested = Array.isArray(one) && Array.isArray((one as unknown[])[0]);
  if (!boxes && !masks && !nested) return [given as Prompt];
  const columns = { points, box: boxes, mask: masks };
  const counts = Object.values(columns).flatMap((column) => (column ? [column.length] : []));
  if (new Set(counts).size > 1 || (labels && (!points || labels.length !== points.length))) {
    throw new InputError(`prompts of different counts (${counts.join(", ")}) cannot be paired; give equally many of each kind.`);
  }
  return Array.from({ length: counts[0] ?? 0 }, (_, i) => ({
    ...(points ? { points: points[i]! } : {}),
    ...(labels ? { labels: labels[i]! } : {}),
    ...(boxes ? { box: boxes[i]! } : {}),
    ...(masks ? { mask: masks[i]! } : {}),
  }));
}

/** Raise what {@link encodePrompts} would, before anything is computed. */
export function checkPrompts(prompts: readonly Prompt[], transform: Transform, side: number): void {
  for (const prompt of prompts) {
    tokens(prompt, transform, false);
    if (prompt.mask !== undefined) checkMask(prompt.mask, transform.original, side);
  }
}

/** One batch, whatever kinds and lengths; shorter prompts are filled up with tokens that take part in nothing. */
export function encodePrompts(prompts: readonly Prompt[], transform: Transform, side: number, rules: PromptRules): Feeds {
  const all = prompts.map((prompt) => tokens(prompt, transform, rules.alwaysPadded));
  const [count, slots] = [prompts.length, Math.max(1, ...all.map((each) => each.length))];
  const coords = new Float32Array(count * slots * 2);
  const labels = new Float32Array(count * slots).fill(absent);
  const masks = new Float32Array(count * side * side);
  const has = new Float32Array(count);
  prompts.forEach(({ mask }, i) => {
    all[i]!.forEach(([x, y, label], j) => {
      const at = i * slots + j;
      coords.set([x, y], 2 * at);
      labels[at] = label;
    });
    if (mask === undefined) return;
    const most = rules.largestLogit;
    masks.set(maskLogits(mask, transform, side).map((logit) => Math.min(most, Math.max(-most, logit))), i * side * side);
    has[i] = 1;
  });
  return feeds(count, slots, coords, labels, masks, has, side);
}

export function feeds(
  count: number,
  slots: number,
  coords: Float32Array,
  labels: Float32Array,
  masks: Float32Array,
  has: Float32Array,
  side: number,
): Feeds {
  return {
    count,
    slots,
    point_coords: { data: coords, dims: [count, slots, 2] },
    point_labels: { data: labels, dims: [count, slots] },
    mask_input: { data: masks, dims: [count, 1, side, side] },
    has_mask_input: { data: has, dims: [count] },
    masked: has.some((value) => value > 0),
  };
}

function tokens(prompt: Prompt, transform: Transform, alwaysPadded: boolean): Token[] {
  const { points, labels, box, mask } = prompt ?? {};
  if (!points && !box && mask === undefined) {
    throw new InputError("a prompt without points, box and mask; give it at least one of them.");
  }
  if (labels && !points) throw new InputError(`labels ${shown(labels)} came without points; give one label each.`);
  const found: Token[] = [];
  if (points) {
    if (!points.length || !points.every((point) => Array.isArray(point) && point.length === 2 && point.every(Number.isFinite))) {
      throw new InputError(`points ${shown(points)}; expected a list of [x, y] in pixels of the image.`);
    }
    if (labels && labels.length !== points.length) {
      throw new InputError(`${labels.length} labels for ${points.length} points; give one label per point.`);
    }
    if (labels && !labels.every((label) => label === foreground || label === background)) {
      throw new InputError(`labels ${shown(labels)}; expected 1 (foreground) or 0 (background).`);
    }
    points.forEach((point, i) => {
      checkInside(point, transform.original, "point");
      found.push([...toInput(transform, point), labels?.[i] ?? foreground]);
    });
  }
  if (box) {
    const corners = checkedBox(box, transform.original).map((corner, i): Token => [...toInput(transform, corner), topLeft + i]);
    if (alwaysPadded) found.unshift(...corners);
    else found.push(...corners);
  }
  if (found.length && (alwaysPadded || !box)) found.push([0, 0, padding]);
  return found;
}

function checkedBox(box: Box, size: Size): readonly [Point, Point] {
  if (!Array.isArray(box) || box.length !== 4 || !box.every(Number.isFinite)) {
    throw new InputError(`box ${shown(box)}; expected [x1, y1, x2, y2] in pixels of the image.`);
  }
  const corners: readonly [Point, Point] = [
    [box[0], box[1]],
    [box[2], box[3]],
  ];
  const inside = corners.map(([x, y]): Point => [Math.min(Math.max(x, 0), size[1]), Math.min(Math.max(y, 0), size[0])]);
  const far = corners.some((corner, i) => corner.some((value, axis) => Math.abs(value - inside[i]![axis]!) > boxSlack));
  if (box[0] < box[2] && box[1] < box[3] && far) corners.forEach((corner) => checkInside(corner, size, "box corner"));
  const [[x1, y1], [x2, y2]] = inside as [Point, Point];
  if (!(x1 < x2 && y1 < y2)) {
    throw new InputError(`box [${box.join(", ")}] has no area in the image; expected x1 < x2 and y1 < y2.`);
  }
  return inside as [Point, Point];
}

function checkInside([x, y]: Point, [height, width]: Size, what: string): void {
  if (x >= 0 && y >= 0 && x <= width && y <= height) return;
  throw new InputError(`${what} (${x}, ${y}) is outside the image; expected 0 <= x <= ${width} and 0 <= y <= ${height} in pixels.`);
}

function checkMask(mask: NonNullable<Prompt["mask"]>, size: Size, side: number): void {
  if (mask instanceof Mask) {
    if (mask.size[0] === size[0] && mask.size[1] === size[1]) return;
    throw new InputError(`a mask of ${mask.size.join(" x ")} pixels; expected the image's ${size.join(" x ")}.`);
  }
  if (mask instanceof Float32Array) {
    if (mask.length !== side * side) {
      throw new InputError(`a mask of ${mask.length} floats; expected low-res logits, ${side} x ${side}, or a bitmap of bytes.`);
    }
    if (!mask.every(Number.isFinite)) throw new InputError("a mask has logits that are not finite; expected numbers.");
    return;
  }
  if (!(mask instanceof Uint8Array) || mask.length !== size[0] * size[1]) {
    throw new InputError(`a mask of ${(mask as Uint8Array)?.length} bytes; expected a bitmap of the image's ${size.join(" x ")}.`);
  }
}

function maskLogits(mask: NonNullable<Prompt["mask"]>, transform: Transform, side: number): Float32Array {
  checkMask(mask, transform.original, side);
  if (mask instanceof Float32Array) return mask;
  if (!(mask instanceof Mask)) return bitmapLogits(mask, transform, side);
  // Logits of another model's frame would be a mask elsewhere in this one.
  const { lowRes, transform: own } = mask.data;
  return lowRes && own && sameFrame(own, transform) ? lowRes : bitmapLogits(mask.bitmap(), transform, side);
}

/** A bitmap as the decoder's mask input: averaged into the input frame, then a quarter of it, mapped to +-8. */
export function bitmapLogits(bitmap: Uint8Array, transform: Transform, side: number): Float32Array {
  const { original, input, imageSize } = transform;
  const covered = area(bitmap.map((value) => (value ? 1 : 0)), original, input, 1);
  const frame = new Float32Array(imageSize * imageSize);
  for (let y = 0; y < input[0]; y++) frame.set(covered.subarray(y * input[1], (y + 1) * input[1]), y * imageSize);
  return area(frame, [imageSize, imageSize], [side, side], 1).map((share) => (2 * share - 1) * binaryLogit);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80);
}
