import { expect, test } from "vitest";
import { fit } from "../src/geometry.js";
import { polygonArea, polygonsOf, type Polygon, type Ring } from "../src/polygons.js";
import { bitmapLogits } from "../src/prompts.js";
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

test("run lengths of another size, or not in COCO's form, are refused", () => {
  const { rle } = cases.bitmaps[0]!;
  expect(() => Runs.fromCoco({ ...rle, size: [1, 2] })).toThrow(/RLE counts cover/);
  expect(() => Runs.fromCoco({ size: [1, 2], counts: "\n" })).toThrow(/COCO's compressed form/);
  expect(() => Runs.fromCoco({ size: [1, 2], counts: "P" })).toThrow(/inside a number/);
});
