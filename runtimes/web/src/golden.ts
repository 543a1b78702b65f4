import type { Engine } from "./engine.js";
import { DeviceError } from "./errors.js";
import { Mask } from "./mask.js";
import type { Golden } from "./manifest.js";
import { encodePrompts } from "./prompts.js";
import type { Rgb } from "./resize.js";
import { Runs } from "./rle.js";

/** How far ratings may be off, and how much of the mask has to overlap. */
const [mostOff, leastIou] = [0.02, 0.98];

/** The picture of the worked example in docs/embedding.md: a disc on a gradient, all in whole numbers. */
export function examplePicture(width: number, height: number): Rgb {
  const data = new Uint8Array(3 * width * height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const disc = (x - 150) ** 2 + (y - 140) ** 2 < 6400;
      data[at++] = disc ? 200 : 40 + (x >> 2);
      data[at++] = disc ? 60 + (x >> 3) : 70 + (y >> 2);
      data[at++] = disc ? 50 : 150 - (x >> 3);
    }
  }
  return { data, size: [height, width] };
}

/** Ask for the click whose answer the bundle holds, by every way there is to decode; raises where one is wrong. */
export async function prove(engine: Engine, golden: Golden, device: string): Promise<void> {
  const embedding = await engine.encode(examplePicture(golden.width, golden.height));
  const feeds = encodePrompts([{ points: [golden.point] }], embedding.transform, engine.side, engine.family);
  const { decoding } = engine;
  const answers = [await decoding.plain(embedding, feeds), ...(decoding.split ? [await decoding.decode(embedding, feeds)] : [])];
  const expected = Runs.fromCoco(golden.mask).decode();
  for (const { iou, masks } of answers) {
    const off = golden.iou_predictions.map((value, i) => Math.abs(value - iou.data[i]!));
    // Written so that not-a-number fails too.
    if (!off.every((difference) => difference <= mostOff)) {
      throw new DeviceError(
        `${device} computes this model wrongly: it rates the masks of the bundle's own click ${shown(iou.data)} instead of ` +
          `${shown(golden.iou_predictions)}; use another device or update the browser and its drivers.`,
      );
    }
    const logits = (await masks([0])).data.slice(0, engine.side ** 2);
    const mask = new Mask({ score: 0, prompt: 0, lowRes: logits, transform: embedding.transform });
    const overlap = bitmapIou(mask.bitmap(), expected);
    if (!(overlap >= leastIou)) {
      throw new DeviceError(
        `${device} computes this model wrongly: the mask of the bundle's own click overlaps the right one by ` +
          `${overlap.toFixed(3)}; use another device or update the browser and its drivers.`,
      );
    }
  }
  embedding.dispose();
}

function bitmapIou(a: Uint8Array, b: Uint8Array): number {
  let [shared, either] = [0, 0];
  a.forEach((inside, i) => {
    shared += inside & b[i]!;
    either += inside | b[i]!;
  });
  return either ? shared / either : 1;
}

function shown(values: ArrayLike<number>): string {
  return Array.from(values, (value) => value.toFixed(3)).join(", ");
}
