import type { Size } from "./geometry.js";

export interface Regions {
  /** Per pixel the number of its region, from 1; 0 outside. */
  readonly labels: Int32Array;
  /** Pixels of region `i + 1` at index `i`; regions are in the order of their first pixel, row by row. */
  readonly areas: number[];
}

/** Connected regions of a bitmap, through edges (4) or corners as well (8). */
export function regions(bitmap: Uint8Array, [height, width]: Size, connectivity: 4 | 8): Regions {
  const labels = new Int32Array(bitmap.length);
  const areas: number[] = [];
  const waiting: number[] = [];
  const reach = connectivity === 8 ? 1 : 0;
  for (let first = 0; first < bitmap.length; first++) {
    if (!bitmap[first] || labels[first]) continue;
    const label = areas.push(0);
    labels[first] = label;
    waiting.push(first);
    // Runs along a row at a time: the neighbours of a whole run are looked at together.
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      const y = Math.floor(at / width);
      const row = y * width;
      let [left, right] = [at, at];
      while (left > row && bitmap[left - 1] && !labels[left - 1]) labels[--left] = label;
      while (right < row + width - 1 && bitmap[right + 1] && !labels[right + 1]) labels[++right] = label;
      areas[label - 1]! += right - left + 1;
      for (const line of [y - 1, y + 1]) {
        if (line < 0 || line >= height) continue;
        const from = Math.max(left - row - reach, 0) + line * width;
        const to = Math.min(right - row + reach, width - 1) + line * width;
        for (let p = from; p <= to; p++) {
          if (!bitmap[p] || labels[p]) continue;
          labels[p] = label;
          waiting.push(p);
        }
      }
    }
  }
  return { labels, areas };
}
