import { argmax } from "./arrays.js";
import { nms } from "./boxes.js";
import type { Candidate } from "./candidates.js";
import type { Size } from "./geometry.js";
import { regions } from "./regions.js";
import { Runs } from "./rle.js";

/** Fill small holes, drop small islands, then remove what became a duplicate; unchanged masks win. */
export function cleaned(found: readonly (Candidate & { mask: Runs })[], leastArea: number, threshold: number): (Candidate & { mask: Runs })[] {
  const masks = found.map((candidate) => {
    const { size } = candidate.mask;
    const bitmap = candidate.mask.decode();
    const changed = [fillHoles(bitmap, size, leastArea), removeIslands(bitmap, size, leastArea)].some(Boolean);
    if (!changed) return { candidate, unchanged: 1 };
    const mask = Runs.encode(bitmap, size);
    return { candidate: { ...candidate, mask, box: mask.box }, unchanged: 0 };
  });
  const boxes = masks.map(({ candidate }) => candidate.box);
  return nms(boxes, masks.map(({ unchanged }) => unchanged), threshold).map((i) => masks[i]!.candidate);
}

/** Fill regions outside with fewer pixels; whether there were any. */
function fillHoles(bitmap: Uint8Array, size: Size, leastArea: number): boolean {
  const { labels, areas } = regions(bitmap.map((inside) => 1 - inside), size, 8);
  if (!areas.some((area) => area < leastArea)) return false;
  labels.forEach((label, i) => {
    if (label && areas[label - 1]! < leastArea) bitmap[i] = 1;
  });
  return true;
}

/** Remove regions inside with fewer pixels, but for the largest where all are; whether there were any. */
function removeIslands(bitmap: Uint8Array, size: Size, leastArea: number): boolean {
  const { labels, areas } = regions(bitmap, size, 8);
  if (!areas.some((area) => area < leastArea)) return false;
  const kept = areas.map((area) => area >= leastArea);
  if (!kept.includes(true)) kept[argmax(areas, 0, areas.length)] = true;
  labels.forEach((label, i) => {
    if (label && !kept[label - 1]) bitmap[i] = 0;
  });
  return true;
}
