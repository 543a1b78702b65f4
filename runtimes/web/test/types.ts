export type * from "../src/index.js";
export type { Runs } from "../src/rle.js";
