import type { Point, Size } from "./geometry.js";
import { regions } from "./regions.js";

export type Ring = readonly Point[];

/** One 4-connected part of a mask: vertices lie on pixel corners, rings are not closed. */
export interface Polygon {
  readonly exterior: Ring;
  readonly holes: readonly Ring[];
}

/** Area inside a ring, whatever its direction. */
export function ringArea(ring: Ring): number {
  let sum = 0;
  ring.forEach(([x, y], i) => {
    const [nextX, nextY] = ring[(i + 1) % ring.length]!;
    sum += x * nextY - y * nextX;
  });
  return Math.abs(sum) / 2;
}

/** In square pixels, holes left out. */
export function polygonArea(polygon: Polygon): number {
  return ringArea(polygon.exterior) - polygon.holes.reduce((sum, hole) => sum + ringArea(hole), 0);
}

/** Parts of a bitmap, largest first; `epsilon` is the largest distance in pixels that outlines may move (0: none). */
export function polygonsOf(bitmap: Uint8Array, size: Size, epsilon = 0): Polygon[] {
  const { labels, areas } = regions(bitmap, size, 4);
  const parts = areas.map(() => ({ rings: [] as Ring[] }));
  for (const { label, ring } of traced(labels, size)) {
    const simple = epsilon > 0 ? simplified(ring, epsilon) : ring;
    if (simple.length >= 3) parts[label - 1]!.rings.push(simple);
  }
  return parts
    .filter(({ rings }) => rings.length)
    .map(({ rings }) => {
      const [exterior, ...holes] = rings.sort((a, b) => ringArea(b) - ringArea(a));
      return { exterior: exterior!, holes };
    })
    .sort((a, b) => polygonArea(b) - polygonArea(a));
}

/** Right, down, left, up: a border goes along pixel edges with its part on the right. */
const steps: readonly Point[] = [
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
];

/** Border rings of all parts, corners only; where two pixels touch at a corner, a ring turns right. */
function* traced(labels: Int32Array, [height, width]: Size): Generator<{ label: number; ring: Ring }> {
  const at = (x: number, y: number): number => (x < 0 || y < 0 || x >= width || y >= height ? 0 : labels[y * width + x]!);
  // One bit per direction of the pixel edges that begin at a corner and were passed.
  const passed = new Uint8Array((height + 1) * (width + 1));
  /** The part to the right of the edge that leaves corner (x, y), if it is a border. */
  const right = (x: number, y: number, direction: number): number => {
    const [inside, outside] = [
      [at(x, y), at(x, y - 1)],
      [at(x - 1, y), at(x, y)],
      [at(x - 1, y - 1), at(x - 1, y)],
      [at(x, y - 1), at(x - 1, y - 1)],
    ][direction] as [number, number];
    return inside && inside !== outside ? inside : 0;
  };
  for (let y0 = 0; y0 < height; y0++) {
    for (let x0 = 0; x0 < width; x0++) {
      // Every ring has an edge that goes right, with a pixel of its part below.
      const label = right(x0, y0, 0);
      if (!label || passed[y0 * (width + 1) + x0]! & 1) continue;
      const ring: Point[] = [];
      let [x, y, direction] = [x0, y0, 0];
      do {
        passed[y * (width + 1) + x]! |= 1 << direction;
        x += steps[direction]![0];
        y += steps[direction]![1];
        const turn = [1, 0, 3].map((by) => (direction + by) % 4).find((next) => right(x, y, next) === label)!;
        if (turn !== direction) ring.push([x, y]);
        direction = turn;
      } while (x !== x0 || y !== y0 || direction !== 0);
      yield { label, ring };
    }
  }
}

/** Fewer vertices, none of those left out further than `epsilon` from the ring (Douglas and Peucker 1973). */
function simplified(ring: Ring, epsilon: number): Ring {
  // Two vertices far from each other part the ring into two lines.
  const start = farthest(ring, 0);
  const turned = [...ring.slice(start), ...ring.slice(0, start)];
  const middle = farthest(turned, 0);
  const kept = new Set([0, middle]);
  const waiting: [number, number][] = [
    [0, middle],
    [middle, turned.length],
  ];
  for (let span = waiting.pop(); span; span = waiting.pop()) {
    const [from, to] = span;
    let [worst, most] = [-1, epsilon];
    for (let i = from + 1; i < to; i++) {
      const off = distance(turned[i]!, turned[from]!, turned[to % turned.length]!);
      if (off > most) [worst, most] = [i, off];
    }
    if (worst < 0) continue;
    kept.add(worst);
    waiting.push([from, worst], [worst, to]);
  }
  return turned.filter((_, i) => kept.has(i));
}

function farthest(ring: Ring, from: number): number {
  const [x0, y0] = ring[from]!;
  let [best, most] = [from, -1];
  ring.forEach(([x, y], i) => {
    const off = (x - x0) ** 2 + (y - y0) ** 2;
    if (off > most) [best, most] = [i, off];
  });
  return best;
}

/** Of a point from the segment between two others. */
function distance([x, y]: Point, [x1, y1]: Point, [x2, y2]: Point): number {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / length)) : 0;
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}
