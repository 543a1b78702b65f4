import { Decoding } from "./decode.js";
import { LocalEmbedding } from "./embedding.js";
import type { Family, Role } from "./families.js";
import { fits, type Graph } from "./graph.js";
import type { Manifest } from "./manifest.js";
import { preprocess, transformOf } from "./preprocess.js";
import type { Rgb } from "./resize.js";

/** The opened graphs of a model: images in, logits out. */
export class Engine {
  readonly decoding: Decoding;
  readonly family: Family;
  /** Of low-res logits, `S/4`. */
  readonly side: number;

  constructor(
    private readonly graphs: ReadonlyMap<Role, Graph>,
    readonly manifest: Manifest,
  ) {
    this.family = manifest.family;
    this.decoding = new Decoding(graphs, this.family);
    this.side = manifest.imageSize / 4;
  }

  async encode(image: Rgb): Promise<LocalEmbedding> {
    const { imageSize, steps } = this.manifest;
    const transform = transformOf(steps, image.size, imageSize);
    const pixels = preprocess(image, transform, steps);
    const tensors = await this.graphs.get("encoder")!.run({
      image: { data: pixels, dims: [1, 3, imageSize, imageSize] },
    });
    return new LocalEmbedding(tensors, transform, image);
  }

  /** Whether its tensors are those that this model's encoder gives. */
  gives({ tensors }: LocalEmbedding): boolean {
    const told = this.manifest.graphs.get("encoder")!.outputs;
    const found = Object.keys(tensors);
    return found.length === told.length && told.every((each) => found.includes(each.name) && fits(tensors[each.name]!.dims, each));
  }

  async close(): Promise<void> {
    for (const graph of this.graphs.values()) await graph.close();
  }
}
