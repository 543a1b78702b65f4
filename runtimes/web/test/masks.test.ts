import { expect, test } from "vitest";
import { families } from "../src/families.js";
import { fit, square, type Transform } from "../src/geometry.js";
import { Mask } from "../src/mask.js";
import { polygonArea, polygonsOf, type Polygon, type Ring } from "../src/polygons.js";
import { bitmapLogits, encodePrompts } from "../src/prompts.js";
import { regions } from "../src/regions.js";
import { Runs } from "../src/rle.js";
import { cases } from "./cases.js";

/** From the smallest corner on, as the expected ones are. */
function turned(ring: Ring): Ring {
  const order = (a: Ring[number], b: Ring[number]): number => a[0] - b[0] || a[1] - b[1];
  const first = ring.indexOf([...ring].sort(order)[0]!);
  return [...ring.slice(first), ...ring.slice(0, first)];
}

const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

cases.bitmaps.forEach((known, index) => {
  const bitmap = new Uint8Array(known.size[0] * known.size[1]);
  for (const pixel of known.pixels) bitmap[pixel] = 1;
  const runs = Runs.encode(bitmap, known.size);

  test(`run lengths of bitmap ${index}`, () => {
    expect(runs.toCoco()).toEqual(known.rle);
    expect(runs.area).toBe(known.area);
    expect(runs.box).toEqual(known.box);
    expect(Runs.fromCoco(known.rle).decode()).toEqual(bitmap);
  });

  test(`outlines of bitmap ${index}`, () => {
    const rings = ({ exterior, holes }: Polygon): Ring[] => [turned(exterior), ...holes.map(turned).sort(byText)];
    const found = polygonsOf(bitmap, known.size).map(rings);
    const expected = known.rings.map(([exterior, ...holes]) => [exterior!, ...holes.sort(byText)]);
    expect(found.sort(byText)).toEqual(expected.sort(byText));
    const total = (epsilon: number): number => polygonsOf(bitmap, known.size, epsilon).reduce((sum, each) => sum + polygonArea(each), 0);
    expect(total(0)).toBe(known.area);
    // Simplified otherwise than OpenCV does, and as well.
    const boundary = known.rings.flat(2).length;
    expect(Math.abs(total(1.5) - known.area)).toBeLessThanOrEqual(Math.abs(known.simplified - known.area) + 1.5 * boundary);
  });

  test(`logits of bitmap ${index} as a prompt`, () => {
    const found = bitmapLogits(bitmap, fit(known.size, 64), 16);
    known.logits.forEach((logit, i) => expect(found[i]).toBeCloseTo(logit, 3));
  });

  test(`regions of bitmap ${index}`, () => {
    expect(regions(bitmap, known.size, 8).areas.sort((a, b) => a - b)).toEqual(known.regions);
  });
});

test("a mask of another model is a prompt by its pixels, one of the same frame by its logits", () => {
  const size = [30, 40] as const;
  const maskOf = (transform: Transform): Mask => {
    const side = transform.imageSize / 4;
    const lowRes = Float32Array.from({ length: side * side }, (_, i) => (i % side < side / 3 ? 5 : -5));
    return new Mask({ score: 1, prompt: 0, lowRes, transform });
  };
  const asked = (mask: Mask, transform: Transform): Float32Array =>
    encodePrompts([{ mask }], transform, transform.imageSize / 4, families["sam"]!).mask_input.data;
  const [own, stretched, larger] = [fit(size, 64), square(size, 64), fit(size, 128)];
  expect(asked(maskOf(own), fit(size, 64))).toEqual(maskOf(own).lowRes);
  for (const other of [stretched, larger]) {
    const mask = maskOf(other);
    expect(asked(mask, own)).toEqual(bitmapLogits(mask.bitmap(), own, 16));
    expect(asked(maskOf(own), other)).toEqual(bitmapLogits(maskOf(own).bitmap(), other, other.imageSize / 4));
  }
});

test("run lengths of another size, or not in COCO's form, are refused", () => {
  const { rle } = cases.bitmaps[0]!;
  expect(() => Runs.fromCoco({ ...rle, size: [1, 2] })).toThrow(/RLE counts cover/);
  expect(() => Runs.fromCoco({ size: [1, 2], counts: "\n" })).toThrow(/COCO's compressed form/);
  expect(() => Runs.fromCoco({ size: [1, 2], counts: "P" })).toThrow(/inside a number/);
});
