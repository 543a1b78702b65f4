import type { LocalEmbedding } from "./embedding.js";
import type { Role, Family } from "./families.js";
import type { Size } from "./geometry.js";
import type { Floats, Graph } from "./graph.js";
import type { Feeds } from "./prompts.js";

/** The answer to a batch of prompts. */
export interface Answer {
  /** Predicted IoU, `[prompts, 4]`; index 0 is the single-mask output. */
  readonly iou: Floats;
  /**
   * Low-res logits `[rows, 4, height, width]` of some of the prompts. With `cells` only so many rows and columns
   * of logits are wanted, such as those of an image without its padding; there may be more.
   */
  masks(rows: readonly number[], cells?: Size): Promise<Floats>;
}

/** Most prompts of a call, however small the model is. */
const mostPrompts = 64;
/** WebGPU binds no more than this by default; all is kept below it, with some room. */
const mostTensorBytes = 120 << 20;

/**
 * Decodes with the graphs that a model has. With the split decoder all prompts are rated first and masks made of
 * those that are wanted; prompts with a mask, and models without the split, go through the plain decoder.
 */
export class Decoding {
  readonly split: boolean;

  constructor(
    private readonly graphs: ReadonlyMap<Role, Graph>,
    private readonly family: Family,
  ) {
    this.split = graphs.has("prepare");
  }

  decode(embedding: LocalEmbedding, feeds: Feeds): Promise<Answer> {
    return this.split && !feeds.masked ? this.score(embedding, feeds) : this.plain(embedding, feeds);
  }

  /** How many prompts of `slots` tokens a call may have so that no tensor in it grows too large. */
  promptsPerCall(slots: number): number {
    const [, channels, rows, columns] = this.graphs.get("decoder")!.shape("image_embeddings") as number[];
    const positions = rows! * columns!;
    const heads = this.split ? Number(this.graphs.get("prepare")!.shape("image_keys")[1]) : 8;
    // The largest: the upscaled features, or what every head's attention to the tokens weighs, twice.
    const values = 2 * heads * (slots + 6) + 1;
    const perPrompt = 4 * positions * Math.max(this.family.widest * channels!, values);
    return Math.max(1, Math.min(mostPrompts, Math.floor(mostTensorBytes / perPrompt)));
  }

  /** Every prompt through one graph. */
  async plain(embedding: LocalEmbedding, feeds: Feeds): Promise<Answer> {
    const answer = await this.graphs.get("decoder")!.run({ ...embedding.tensors, ...tensors(feeds) });
    const masks = answer["low_res_masks"]!;
    return { iou: answer["iou_predictions"]!, masks: async (rows) => picked(masks, rows) };
  }

  private async score(embedding: LocalEmbedding, feeds: Feeds): Promise<Answer> {
    embedding.prepared ??= this.graphs.get("prepare")!.run(embedding.tensors);
    let prepared: Readonly<Record<string, Floats>>;
    try {
      prepared = await embedding.prepared;
    } catch (error) {
      embedding.prepared = undefined;
      throw error;
    }
    const scored = await this.graphs.get("scorer")!.run({ ...prepared, ...tensors(feeds) });
    const [gridRows, gridColumns] = prepared["image_features"]!.dims as [number, number];
    const tokensOfImage = ["image_features", ...this.family.tokens];
    const head = this.graphs.get("mask_head")!;

    const masks = async (rows: readonly number[], cells?: Size): Promise<Floats> => {
      // A cell is a quarter of a token; interpolation also reads the one behind the last.
      const behind = 1 + this.family.halo;
      const grid = [gridRows, gridColumns] as const;
      const [height, width] = grid.map((side, i) => (cells ? Math.min(side, Math.ceil((cells[i]! + behind) / 4)) : side)) as [number, number];
      const inputs: Record<string, Floats> = {};
      for (const name of ["mask_tokens", "mask_values"]) inputs[name] = picked(scored[name]!, rows);
      for (const name of ["mask_scale", "mask_weights"]) {
        inputs[name] = part(picked(scored[name]!, rows), grid, height, width);
      }
      for (const name of tokensOfImage) inputs[name] = corner(prepared[name]!, height, width);
      return (await head.run(inputs))["low_res_masks"]!;
    };
    return { iou: scored["iou_predictions"]!, masks };
  }
}

function tensors({ point_coords, point_labels, mask_input, has_mask_input }: Feeds): Record<string, Floats> {
  return { point_coords, point_labels, mask_input, has_mask_input };
}

/** Some of the first axis. */
function picked({ data, dims }: Floats, rows: readonly number[]): Floats {
  const length = data.length / dims[0]!;
  if (rows.length === dims[0] && rows.every((row, i) => row === i)) return { data, dims };
  const out = new Float32Array(rows.length * length);
  rows.forEach((row, i) => out.set(data.subarray(row * length, (row + 1) * length), i * length));
  return { data: out, dims: [rows.length, ...dims.slice(1)] };
}

/** Of `[n, m, positions]` the positions in the first lines and columns of the image tokens. */
function part({ data, dims }: Floats, [rows, columns]: Size, height: number, width: number): Floats {
  if (height === rows && width === columns) return { data, dims };
  const lines = dims[0]! * dims[1]!;
  const out = new Float32Array(lines * height * width);
  for (let line = 0; line < lines; line++) {
    for (let y = 0; y < height; y++) {
      const from = line * rows * columns + y * columns;
      out.set(data.subarray(from, from + width), (line * height + y) * width);
    }
  }
  return { data: out, dims: [dims[0]!, dims[1]!, height * width] };
}

/** The first lines and columns of `[rows, columns, channels]`. */
function corner({ data, dims }: Floats, height: number, width: number): Floats {
  const [rows, columns, channels] = dims as [number, number, number];
  if (height === rows && width === columns) return { data, dims };
  const out = new Float32Array(height * width * channels);
  for (let y = 0; y < height; y++) {
    const from = y * columns * channels;
    out.set(data.subarray(from, from + width * channels), y * width * channels);
  }
  return { data: out, dims: [height, width, channels] };
}
