import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { CocoRle, RgbaImage } from "../src/index.js";

/** What `tools/web_cases.py` has written. */
export const folder = resolve(process.env["SAMDEPLOY_WEB_CASES"] ?? "../../build/web");

export interface Written {
  points?: [number, number][];
  labels?: number[];
  box?: [number, number, number, number];
  /** A mask at the size of the picture. */
  bitmap?: CocoRle;
  /** The mask that answers the first prompt alone. */
  again?: true;
}

export interface Answered {
  score: number;
  rle: CocoRle;
  prompt: number;
  stability: number | null;
}

export interface Asked {
  picture: string;
  multimask: boolean;
  prompts: Written[];
  masks: Answered[];
}

export interface Everything {
  picture: string;
  settings: Record<string, unknown>;
  masks: Answered[];
}

export interface Cases {
  pictures: Record<string, [number, number]>;
  resizing: { size: number; preprocess: Record<string, unknown>; file: string }[];
  bitmaps: {
    size: [number, number];
    pixels: number[];
    rle: CocoRle;
    area: number;
    box: [number, number, number, number];
    rings: [number, number][][][];
    simplified: number;
    logits: number[];
    regions: number[];
  }[];
  prompting: Asked[];
  everything: Everything[];
  families: { bundle: string; asked: Asked; everything: Everything }[];
}

export const cases = JSON.parse(readFileSync(resolve(folder, "cases.json"), "utf8")) as Cases;

export function picture(name: string): RgbaImage {
  const [height, width] = cases.pictures[name]!;
  return { data: new Uint8ClampedArray(readFileSync(resolve(folder, `${name}.rgba`))), width, height };
}
