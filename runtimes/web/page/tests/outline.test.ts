import { expect, test } from "vitest";
import { cropOf } from "../src/crop";
import { joined, ringsOf, smoothPath } from "../src/outline";
import { rleOf } from "./rle";

/** Of a ring with its mask to the right; negative for a hole. */
const signedArea = (ring: readonly (readonly [number, number])[]): number =>
  ring.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = ring[(index + 1) % ring.length]!;
    return sum + (x * nextY - nextX * y) / 2;
  }, 0);
const rings = (rows: string[]): ReturnType<typeof ringsOf> => ringsOf(cropOf(rleOf(rows))!);

test("one pixel is a square of its corners", () => {
  const [ring, ...others] = rings(["...", "..#"]);
  expect(others).toEqual([]);
  expect(new Set(ring!.map(String))).toEqual(new Set(["2,1", "3,1", "3,2", "2,2"]));
});

test("areas of parts and holes are counts of pixels", () => {
  const rows = ["#####..", "#...#..", "#.#.#.#", "#...#..", "#####.."];
  const areas = rings(rows).map((ring) => signedArea(ring));
  expect(areas.sort((a, b) => a - b)).toEqual([-9, 1, 1, 25]);
});

test("one ring for all has the area of all", () => {
  const rows = ["#####..", "#...#..", "#.#.#.#", "#...#..", "#####.."];
  expect(signedArea(joined(rings(rows)))).toBe(25 - 9 + 1 + 1);
});

test("a slope is drawn as a line", () => {
  expect(smoothPath(rings(["#.", "##"]))).toContain("1 0.5L1 0.5");
});
