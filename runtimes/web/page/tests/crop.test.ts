import { expect, test } from "vitest";
import { boxOf, cropOf, holds } from "../src/crop";
import { rleOf } from "./rle";

test("run lengths are read as pycocotools writes them", () => {
  // Of 100 rows and 80 columns, rows 10 to 89 of columns 10 to 69, without a square of 10.
  const counts =
    "bo0`2d0" + "0".repeat(18) + "TNFn0" + ":ROFn0".repeat(9) + ":n0" + "0".repeat(78) + "nn0";
  const crop = cropOf({ size: [100, 80], counts })!;
  expect(boxOf(crop)).toEqual([10, 10, 69, 89]);
  expect(crop.area).toBe(60 * 80 - 100);
  expect(holds(crop, 25, 35)).toBe(false);
});

test("a crop has what the mask has", () => {
  const rows = ["......", "..##..", ".####.", "......", "....#."];
  const crop = cropOf(rleOf(rows))!;
  expect(boxOf(crop)).toEqual([1, 1, 4, 4]);
  expect(crop.area).toBe(7);
  rows.forEach((row, y) =>
    [...row].forEach((cell, x) => expect(holds(crop, x + 0.5, y + 0.5)).toBe(cell === "#")),
  );
  expect(holds(crop, -1, 0)).toBe(false);
});

test("a mask of nothing has no crop", () => {
  expect(cropOf(rleOf(["...", "..."]))).toBeNull();
});
