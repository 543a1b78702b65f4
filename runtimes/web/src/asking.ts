import { argmax } from "./arrays.js";
import type { Answer, Decoding } from "./decode.js";
import type { LocalEmbedding } from "./embedding.js";
import { lowResSize, toInput, type Point } from "./geometry.js";
import type { Floats } from "./graph.js";
import { feeds, foreground, padding, type Feeds } from "./prompts.js";
import type { WholeImageSettings } from "./settings.js";
import { singleMask } from "./stability.js";

/** A confident mask: low-res logits, predicted IoU, and which of the points it answers. */
export interface Confident {
  readonly logits: Float32Array;
  readonly iou: number;
  readonly owner: number;
}

/** Logit of what is not made: the part of a low-res mask that is all padding. */
const outside = -8;
/** Logits of a mask that is a prompt again are cut off here. */
const mostLogit = 32;

/** Grid points to the confident masks that the model answers with, for one image or crop. */
export class Asking {
  constructor(
    private readonly decoding: Decoding,
    private readonly embedding: LocalEmbedding,
    private readonly settings: WholeImageSettings,
    private readonly side: number,
    private readonly stableSingleMask: boolean,
  ) {}

  /** `points` in pixels of the crop. */
  async ask(points: readonly Point[]): Promise<Confident[]> {
    const prompts = gridPrompts(points.map((point) => toInput(this.embedding.transform, point)), this.side);
    const answer = await this.decoding.decode(this.embedding, prompts);
    if (this.settings.useM2m) return this.refined(prompts, answer);
    if (!this.settings.multimaskOutput) return this.confidentOnly(await this.single(answer));
    return this.candidates(answer);
  }

  /** The single-mask output is for prompts that leave no doubt; one point does, so it is left out. */
  private async candidates({ iou, masks }: Answer): Promise<Confident[]> {
    const [count, outputs] = iou.dims as [number, number];
    const wanted: { row: number; output: number }[] = [];
    for (let row = 0; row < count; row++) {
      const best = argmax(iou.data, row * outputs + 1, (row + 1) * outputs) - row * outputs;
      for (let output = 1; output < outputs; output++) {
        const chosen = !this.settings.bestOnly || output === best;
        if (chosen && this.isConfident(iou.data[row * outputs + output]!)) wanted.push({ row, output });
      }
    }
    if (!wanted.length) return [];
    // Masks are made only for prompts that have a confident one.
    const rows = [...new Set(wanted.map(({ row }) => row))];
    const made = await masks(rows, lowResSize(this.embedding.transform));
    return wanted.map(({ row, output }) => ({
      logits: this.whole(made, rows.indexOf(row), output),
      iou: iou.data[row * outputs + output]!,
      owner: row,
    }));
  }

  /** One mask of an answer, `side x side`, wherever it was not made outside. */
  private whole({ data, dims }: Floats, row: number, output: number): Float32Array {
    const [, outputs, height, width] = dims as [number, number, number, number];
    const from = (row * outputs + output) * height * width;
    const made = data.subarray(from, from + height * width);
    if (height === this.side && width === this.side) return made.slice();
    const logits = new Float32Array(this.side * this.side).fill(outside);
    for (let y = 0; y < height; y++) logits.set(made.subarray(y * width, (y + 1) * width), y * this.side);
    return logits;
  }

  /** The mask of every prompt that answers when one is asked for. */
  private async single({ iou, masks }: Answer): Promise<Confident[]> {
    const [count, outputs] = iou.dims as [number, number];
    const made = await masks(Array.from({ length: count }, (_, row) => row));
    return Array.from({ length: count }, (_, row) => {
      const ratings = iou.data.subarray(row * outputs, (row + 1) * outputs);
      const all = made.data.subarray((row * made.data.length) / count, ((row + 1) * made.data.length) / count);
      const output = singleMask(this.stableSingleMask, all, ratings);
      return { logits: this.whole(made, row, output), iou: ratings[output]!, owner: row };
    });
  }

  /** Every mask once more, with its logits beside its point. */
  private async refined(prompts: Feeds, answer: Answer): Promise<Confident[]> {
    const earlier = this.settings.multimaskOutput ? await this.ambiguous(answer) : await this.single(answer);
    const found: Confident[] = [];
    for (let start = 0; start < earlier.length; start += prompts.count) {
      const batch = earlier.slice(start, start + prompts.count);
      const again = await this.decoding.decode(this.embedding, withMasks(prompts, batch, this.side));
      found.push(...(await this.single(again)).map((each) => ({ ...each, owner: batch[each.owner]!.owner })));
    }
    return this.confidentOnly(found);
  }

  /** All candidates of all prompts, or the best of each. */
  private async ambiguous({ iou, masks }: Answer): Promise<Confident[]> {
    const [count, outputs] = iou.dims as [number, number];
    const made = await masks(Array.from({ length: count }, (_, row) => row));
    return Array.from({ length: count }, (_, row) => {
      const best = argmax(iou.data, row * outputs + 1, (row + 1) * outputs) - row * outputs;
      const chosen = this.settings.bestOnly ? [best] : Array.from({ length: outputs - 1 }, (_, i) => i + 1);
      return chosen.map((output) => ({ logits: this.whole(made, row, output), iou: iou.data[row * outputs + output]!, owner: row }));
    }).flat();
  }

  private confidentOnly(found: Confident[]): Confident[] {
    return found.filter(({ iou }) => this.isConfident(iou));
  }

  private isConfident(iou: number): boolean {
    const least = this.settings.confThres;
    return least <= 0 || iou > Math.fround(least);
  }
}

/** One prompt of a single foreground point each; `points` in pixels of the input. */
function gridPrompts(points: readonly Point[], side: number): Feeds {
  const count = points.length;
  const coords = new Float32Array(count * 4);
  const labels = new Float32Array(count * 2);
  points.forEach((point, i) => {
    coords.set(point, 4 * i);
    labels.set([foreground, padding], 2 * i);
  });
  return feeds(count, 2, coords, labels, new Float32Array(count * side * side), new Float32Array(count), side);
}

function withMasks(prompts: Feeds, batch: readonly Confident[], side: number): Feeds {
  const count = batch.length;
  const coords = new Float32Array(count * 4);
  const labels = new Float32Array(count * 2);
  const masks = new Float32Array(count * side * side);
  batch.forEach(({ owner, logits }, i) => {
    coords.set(prompts.point_coords.data.subarray(4 * owner, 4 * owner + 4), 4 * i);
    labels.set(prompts.point_labels.data.subarray(2 * owner, 2 * owner + 2), 2 * i);
    masks.set(logits.map((logit) => Math.min(mostLogit, Math.max(-mostLogit, logit))), i * side * side);
  });
  return feeds(count, 2, coords, labels, masks, new Float32Array(count).fill(1), side);
}
