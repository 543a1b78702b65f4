import { Runs, type CocoRle } from "../../src/rle";

/** A drawing, `#` inside, as COCO's compressed run lengths. */
export function rleOf(rows: string[]): CocoRle {
  const bits = Uint8Array.from(rows.join(""), (cell) => (cell === "#" ? 1 : 0));
  return Runs.encode(bits, [rows.length, rows[0]!.length]).toCoco();
}
