import { BundleError } from "./errors.js";
import { fit, square, type Size, type Transform } from "./geometry.js";
import { resamplings, resizeBytes, type Rgb } from "./resize.js";

/** What happens to the pixels of an image before the encoder sees them; see "Other models" in docs/embedding.md. */
export interface Steps {
  readonly resize: "fit" | "square";
  readonly resampling: string;
  readonly rounding: "nearest" | "down" | "none";
  readonly scaling: "none" | "min-max";
  readonly pad: readonly [number, number, number];
}

export const samSteps: Steps = {
  resize: "fit",
  resampling: "bilinear",
  rounding: "nearest",
  scaling: "none",
  pad: [123.675, 116.28, 103.53],
};
export const sam2Steps: Steps = { ...samSteps, resize: "square", rounding: "none" };

const choices: Readonly<Record<string, readonly string[]>> = {
  resize: ["fit", "square"],
  resampling: Object.keys(resamplings),
  rounding: ["nearest", "down", "none"],
  scaling: ["none", "min-max"],
};
/** Mean and deviation are inside the graph. */
const insideGraph = ["mean", "std"];

/** The steps that a manifest tells; what this package cannot do is refused. */
export function chosenSteps(told: Readonly<Record<string, unknown>>, name: string): Steps {
  for (const [key, value] of Object.entries(told)) {
    const known = choices[key];
    const fits = known
      ? known.includes(String(value))
      : key === "pad"
        ? Array.isArray(value) && value.length === 3 && value.every(Number.isFinite)
        : insideGraph.includes(key);
    if (!fits) {
      throw new BundleError(
        `'${name}' wants images with ${key} ${JSON.stringify(value)}, which this package cannot do` +
          `${known ? ` (it can ${known.join(", ")})` : ""}; run the bundle with Python.`,
      );
    }
  }
  return { ...samSteps, ...told } as Steps;
}

/** How an image of `size` becomes encoder input. */
export function transformOf(steps: Steps, size: Size, imageSize: number): Transform {
  return (steps.resize === "fit" ? fit : square)(size, imageSize);
}

/** Float32 `[1, 3, S, S]` in 0-255, channels first. */
export function preprocess(image: Rgb, transform: Transform, steps: Steps): Float32Array {
  const resized = resizedPixels(image, transform.input, steps);
  let [low, factor] = [0, 1];
  if (steps.scaling === "min-max") {
    let high = -Infinity;
    low = Infinity;
    for (const value of resized) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    factor = Math.fround(255 / Math.max(high - low, 1e-8));
  }
  const side = transform.imageSize;
  const [height, width] = transform.input;
  const out = new Float32Array(3 * side * side);
  for (let channel = 0; channel < 3; channel++) {
    const plane = out.subarray(channel * side * side, (channel + 1) * side * side).fill(steps.pad[channel]!);
    for (let y = 0; y < height; y++) {
      let from = y * width * 3 + channel;
      for (let x = 0; x < width; x++, from += 3) plane[y * side + x] = (resized[from]! - low) * factor;
    }
  }
  return out;
}

function resizedPixels(image: Rgb, size: Size, steps: Steps): Uint8Array | Float32Array {
  if (image.size[0] === size[0] && image.size[1] === size[1]) return image.data;
  if (steps.resampling === "bilinear" && steps.rounding === "nearest") return resizeBytes(image, size).data;
  const resized = resamplings[steps.resampling]!(image, size);
  if (steps.rounding === "none") return resized;
  const up = steps.rounding === "nearest" ? 0.5 : 0;
  return resized.map((value) => Math.min(255, Math.max(0, Math.floor(value + up))));
}
