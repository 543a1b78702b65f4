import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { toRgb } from "../src/image.js";
import { chosenSteps, preprocess, transformOf } from "../src/preprocess.js";
import { cases, folder, picture } from "./cases.js";

for (const { size, preprocess: told, file } of cases.resizing) {
  const eightBits = !Object.keys(told).length;
  test(`an encoder input of ${size} pixels, ${JSON.stringify(told)}`, () => {
    const image = toRgb(picture("odd"));
    const steps = chosenSteps(told, "a test");
    const found = preprocess(image, transformOf(steps, image.size, size), steps);
    const bytes = readFileSync(resolve(folder, file));
    const expected = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    expect(found.length).toBe(expected.length);
    const off = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - found[i]!)), 0);
    const unequal = expected.reduce((sum, value, i) => sum + (Math.abs(value - found[i]!) > 1e-3 ? 1 : 0), 0);
    // Pillow's 8 bits are the same to the bit; where float32 is rounded, a tie may fall to the other side.
    expect(off).toBeLessThanOrEqual(eightBits ? 0 : told["rounding"] === "none" ? 1e-3 : 1);
    if (!eightBits) expect(unequal / expected.length).toBeLessThan(told["scaling"] ? 1 : 1e-4);
  });
}

test("what a manifest wants and this package cannot do is refused", () => {
  expect(() => chosenSteps({ resampling: "spline" }, "x")).toThrow(/resampling "spline".*it can bilinear, bicubic, area/);
  expect(() => chosenSteps({ sharpen: 1 }, "x")).toThrow(/sharpen 1/);
});

test("alpha is dropped, and colours stay as they are stored", () => {
  const data = Uint8ClampedArray.of(1, 2, 3, 0, 4, 5, 6, 128);
  expect(toRgb({ data, width: 2, height: 1 })).toEqual({ data: Uint8Array.of(1, 2, 3, 4, 5, 6), size: [1, 2] });
});
