import { polygonsOf, ringArea, type Ring } from "../../src/polygons";
import type { Crop } from "./crop";
import type { Point } from "./types";

/** Outlines of all parts and holes of a mask along pixel edges, in pixels of the picture. */
export function ringsOf(crop: Crop): Ring[] {
  return polygonsOf(crop.bits, [crop.height, crop.width])
    .flatMap(({ exterior, holes }) => [exterior, ...holes])
    .map((ring) => ring.map(([x, y]) => [x + crop.x, y + crop.y] as const));
}

/** The rings for a drawing: corners cut half a pixel before and behind, so that a slope is a line
 * and no staircase. */
export function smoothPath(rings: readonly Ring[]): string {
  return rings
    .map((ring) => {
      const cut = ring.flatMap((corner, index) => {
        const before = ring[(index || ring.length) - 1]!;
        const after = ring[(index + 1) % ring.length]!;
        return [towards(corner, before), towards(corner, after)];
      });
      return `M${cut.map(([x, y]) => `${x} ${y}`).join("L")}Z`;
    })
    .join("");
}

function towards([x, y]: Point, [toX, toY]: Point): Point {
  return [x + Math.sign(toX - x) / 2, y + Math.sign(toY - y) / 2];
}

/** One ring for formats that know neither parts nor holes: every ring is joined to the largest by
 * a cut of no width, where they are nearest. */
export function joined(rings: readonly Ring[]): Ring {
  const [largest = [], ...others] = [...rings].sort((a, b) => ringArea(b) - ringArea(a));
  return others.reduce(join, largest);
}

function join(all: Ring, ring: Ring): Ring {
  let [least, from, to] = [Infinity, 0, 0];
  all.forEach(([x, y], i) =>
    ring.forEach(([x2, y2], k) => {
      const distance = (x - x2) ** 2 + (y - y2) ** 2;
      if (distance < least) [least, from, to] = [distance, i, k];
    }),
  );
  const turned = [...ring.slice(to), ...ring.slice(0, to + 1)];
  return [...all.slice(0, from + 1), ...turned, ...all.slice(from)];
}
