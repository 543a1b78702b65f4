import { InputError } from "./errors.js";
import type { Point } from "./geometry.js";

/** Settings of whole-image mode; those left out are what the model recommends, else Meta's defaults. */
export interface WholeImageSettings {
  /** Grid points along one side of the image. */
  pointsStride: number;
  /** Prompts in one call at most; no answer depends on it. */
  pointsBatchSize: number;
  /** Smallest predicted IoU, exclusive; 0 keeps all. */
  confThres: number;
  /** Smallest stability score, inclusive; 0 keeps all. */
  stabilityScoreThresh: number;
  /** Shift of the threshold for the stability score, in logits. */
  stabilityScoreOffset: number;
  /** Boxes of one crop that overlap more than this IoU are duplicates. */
  nmsThresh: number;
  /** Layers of crops; layer `i` has `4^i`. */
  cropNLayers: number;
  /** The same as `nmsThresh` between crops. */
  cropNmsThresh: number;
  /** Overlap of neighbouring crops, as a share of the shorter side. */
  cropOverlapRatio: number;
  /** Points along a side are divided by this for every layer. */
  cropDownscaleFactor: number;
  /** Holes and islands below this many pixels are removed; 0 keeps all. */
  minMaskRegionArea: number;
  /** Own grids, one list of [x, y] in 0-1 per layer, instead of `pointsStride`. */
  pointGrids: readonly (readonly Point[])[] | null;
  /** Judge stability and boxes on masks at full size, as the reference implementation does. */
  exact: boolean;
  /** Three masks a point; without, the one that a prompt without doubt gets. */
  multimaskOutput: boolean;
  /** Of the three masks of a point only that of the largest predicted IoU. */
  bestOnly: boolean;
  /** Ask again for every mask with its logits beside its point. */
  useM2m: boolean;
  /** `adaptive` leaves out points inside masks found on a coarser grid. */
  mode: "grid" | "adaptive";
}

/** By name: the default, the least and the most, and whether it is a whole number. */
const numbers = {
  pointsStride: [32, 1, 1000, true],
  pointsBatchSize: [4, 1, 1024, true],
  confThres: [0.88, 0, 1, false],
  stabilityScoreThresh: [0.95, 0, 1, false],
  stabilityScoreOffset: [1, 0, 1000, false],
  nmsThresh: [0.7, 0, 1, false],
  cropNLayers: [0, 0, 6, true],
  cropNmsThresh: [0.7, 0, 1, false],
  cropOverlapRatio: [512 / 1500, 0, 0.99, false],
  cropDownscaleFactor: [1, 1, 1000, true],
  minMaskRegionArea: [0, 0, 1e9, true],
} as const satisfies Partial<Record<keyof WholeImageSettings, readonly [number, number, number, boolean]>>;

const flags = { exact: false, multimaskOutput: true, bestOnly: false, useM2m: false } as const;
const modes: readonly unknown[] = ["grid", "adaptive"];
const mostPoints = 1e7;

const defaults: Readonly<Record<string, unknown>> = {
  mode: "grid",
  pointGrids: null,
  ...flags,
  ...Object.fromEntries(Object.entries(numbers).map(([name, [usual]]) => [name, usual])),
};

/** What Meta and Ultralytics call some of them. */
const otherNames: ReadonlyMap<string, keyof WholeImageSettings> = new Map([
  ["points_per_side", "pointsStride"],
  ["points_per_batch", "pointsBatchSize"],
  ["pred_iou_thresh", "confThres"],
  ["conf", "confThres"],
  ["box_nms_thresh", "nmsThresh"],
  ["iou", "nmsThresh"],
  ["crop_n_points_downscale_factor", "cropDownscaleFactor"],
]);

/** `given` over what the model recommends over the defaults, all checked. */
export function chosenSettings(
  given: Partial<WholeImageSettings> = {},
  recommended: Partial<WholeImageSettings> = {},
): WholeImageSettings {
  const settings: Record<string, unknown> = { ...defaults };
  for (const [name, value] of [...Object.entries(recommended), ...Object.entries(given)]) {
    checkKnown(name);
    if (value !== undefined) settings[name] = checked(name, value);
  }
  const result = settings as unknown as WholeImageSettings;
  checkPoints(result);
  return result;
}

/** What a model recommends, by Python's names or those that it takes as well; all checked. */
export function recommendedSettings(told: Readonly<Record<string, unknown>>): Partial<WholeImageSettings> {
  const found: Record<string, unknown> = {};
  for (const [written, value] of Object.entries(told)) {
    const name = otherNames.get(written) ?? camelCase(written);
    checkKnown(name, written);
    if (name in found) throw new InputError(`'${written}' sets '${name}' a second time; give it once.`);
    found[name] = value;
  }
  const recommended = found as Partial<WholeImageSettings>;
  chosenSettings({}, recommended);
  return recommended;
}

/** Grid points along a side of the crops of a layer; 0 is the whole image. */
export function pointsAlong(settings: WholeImageSettings, layer: number): number {
  return Math.max(1, Math.floor(settings.pointsStride / settings.cropDownscaleFactor ** layer));
}

function checkKnown(name: string, written = name): void {
  if (Object.hasOwn(defaults, name)) return;
  throw new InputError(`unknown setting '${written}'; expected one of ${Object.keys(defaults).join(", ")}.`);
}

function checked(name: string, value: unknown): unknown {
  const shown = (JSON.stringify(value) ?? String(value)).slice(0, 80);
  if (name in numbers) {
    const [, least, most, whole] = numbers[name as keyof typeof numbers];
    const fits = typeof value === "number" && value >= least && value <= most && (!whole || Number.isInteger(value));
    if (!fits) throw new InputError(`${name}=${shown}; expected a ${whole ? "whole " : ""}number from ${least} to ${most}.`);
  } else if (name in flags) {
    if (typeof value !== "boolean") throw new InputError(`${name}=${shown}; expected true or false.`);
  } else if (name === "mode") {
    if (!modes.includes(value)) throw new InputError(`mode=${shown}; expected one of ${modes.join(", ")}.`);
  } else if (value !== null) {
    const grids = value as readonly (readonly Point[])[];
    const inside = (point: unknown): boolean =>
      Array.isArray(point) && point.length === 2 && point.every((side) => side >= 0 && side <= 1);
    if (!Array.isArray(grids) || !grids.every((grid) => Array.isArray(grid) && grid.length && grid.every(inside))) {
      throw new InputError(`pointGrids=${shown}; expected a list of grids of [x, y] from 0 to 1.`);
    }
  }
  return value;
}

function checkPoints(settings: WholeImageSettings): void {
  const layers = Array.from({ length: settings.cropNLayers + 1 }, (_, i) => i);
  if (settings.pointGrids) {
    if (settings.pointGrids.length !== layers.length) {
      throw new InputError(
        `${settings.pointGrids.length} pointGrids; expected ${layers.length}, one for the image and one per layer of crops.`,
      );
    }
  } else {
    const count = layers.reduce((sum, layer) => sum + 4 ** layer * pointsAlong(settings, layer) ** 2, 0);
    if (count > mostPoints) {
      throw new InputError(
        `pointsStride=${settings.pointsStride} with cropNLayers=${settings.cropNLayers} asks at ${count} points; expected at most ${mostPoints}.`,
      );
    }
  }
  if (settings.mode === "adaptive" && (settings.exact || settings.pointGrids)) {
    throw new InputError("mode=adaptive works on low-res logits of a regular grid; drop exact and pointGrids, or the mode.");
  }
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
