import { LocalEmbedding, type Embedding } from "./embedding.js";
import type { Engine } from "./engine.js";
import { InputError } from "./errors.js";
import { generate, type GenerateOptions } from "./generate.js";
import { transformOf } from "./preprocess.js";
import { toRgb, type ImageSource } from "./image.js";
import { Mask } from "./mask.js";
import { openEngine, type Opened, type OpenOptions } from "./opening.js";
import { checkPrompts, encodePrompts, promptList, type Prompt, type Prompts } from "./prompts.js";
import type { Info, PredictOptions, Segmenter } from "./segmenter.js";
import { chosenSettings, type WholeImageSettings } from "./settings.js";
import type { Source } from "./source.js";
import { singleMask } from "./stability.js";
import { breathe } from "./turns.js";

/** Prompts in one decoder call at most; more gain no speed, and each takes memory. */
const mostPrompts = 16;

/** A Segment Anything model from an ONNX bundle of samdeploy. */
export class Sam implements Segmenter {
  readonly device: string;
  readonly notice: string | undefined;
  readonly info: Info;
  private engine: Engine | undefined;

  private constructor(opened: Opened) {
    this.engine = opened.engine;
    this.device = opened.device;
    this.notice = opened.notice;
    const { architecture, familyName, imageSize, precision, licence } = opened.engine.manifest;
    const { split } = opened.engine.decoding;
    this.info = { architecture, family: familyName, imageSize, precision, split, licence, proved: opened.proved };
  }

  /**
   * Open a bundle, with every file checked. Raises a `SamDeployError` with one sentence for a bundle that is not
   * what its manifest says, and for a device that is not there or computes it wrongly.
   */
  static async open(source: Source, options: OpenOptions): Promise<Sam> {
    return new Sam(await openEngine(source, options));
  }

  async encode(image: ImageSource): Promise<LocalEmbedding> {
    return this.opened.encode(toRgb(image));
  }

  async predict(
    target: Embedding | ImageSource,
    prompts: Prompt | readonly Prompt[] | Prompts,
    { multimask = false, signal }: PredictOptions = {},
  ): Promise<Mask[]> {
    const engine = this.opened;
    const list = promptList(prompts);
    const image = target instanceof LocalEmbedding ? this.own(target) : toRgb(target as ImageSource);
    const { manifest, family, side } = engine;
    const transform = image instanceof LocalEmbedding ? image.transform : transformOf(manifest.steps, image.size, manifest.imageSize);
    checkPrompts(list, transform, side); // the encoder takes long
    if (!list.length) return [];
    const embedding = image instanceof LocalEmbedding ? image : await engine.encode(image);
    const found: Mask[] = [];
    for (let start = 0; start < list.length; ) {
      signal?.throwIfAborted();
      const slots = Math.max(...list.slice(start, start + mostPrompts).map(({ points }) => (points?.length ?? 0) + 3));
      const batch = list.slice(start, start + Math.min(mostPrompts, engine.decoding.promptsPerCall(slots)));
      const { iou, masks } = await engine.decoding.decode(embedding, encodePrompts(batch, transform, side, family));
      const outputs = iou.dims[1]!;
      const made = (await masks(batch.map((_, row) => row))).data;
      const size = side * side;
      batch.forEach((_, row) => {
        const logits = made.subarray(row * outputs * size, (row + 1) * outputs * size);
        const ratings = iou.data.subarray(row * outputs, (row + 1) * outputs);
        // Output 0 answers a prompt without doubt, the others an ambiguous one.
        const chosen = multimask ? Array.from({ length: outputs - 1 }, (_, i) => i + 1) : [singleMask(family.stableSingleMask, logits, ratings)];
        for (const output of chosen) {
          const lowRes = logits.slice(output * size, (output + 1) * size);
          found.push(new Mask({ score: ratings[output]!, prompt: start + row, lowRes, transform }));
        }
      });
      start += batch.length;
      if (start < list.length) await breathe();
    }
    if (embedding !== target) embedding.dispose();
    return found;
  }

  async generate(
    target: Embedding | ImageSource,
    settings: Partial<WholeImageSettings> = {},
    options: GenerateOptions = {},
  ): Promise<Mask[]> {
    const engine = this.opened;
    const chosen = chosenSettings(settings, engine.manifest.wholeImage);
    options.signal?.throwIfAborted();
    const embedding = target instanceof LocalEmbedding ? this.own(target) : await this.encode(target as ImageSource);
    try {
      return await generate(engine, embedding, chosen, options);
    } finally {
      if (embedding !== target) embedding.dispose();
    }
  }

  async close(): Promise<void> {
    const engine = this.engine;
    this.engine = undefined;
    await engine?.close();
  }

  private get opened(): Engine {
    if (!this.engine) throw new InputError("this model was closed; open it again.");
    return this.engine;
  }

  private own(embedding: LocalEmbedding): LocalEmbedding {
    if (embedding.disposed) throw new InputError("this embedding was disposed of; encode the image again.");
    if (embedding.transform.imageSize !== this.info.imageSize || !this.opened.gives(embedding)) {
      throw new InputError("this embedding is of another model; encode the image with the one that decodes it.");
    }
    return embedding;
  }
}
