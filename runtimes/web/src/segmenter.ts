import type { Embedding } from "./embedding.js";
import type { GenerateOptions } from "./generate.js";
import type { ImageSource } from "./image.js";
import type { Mask } from "./mask.js";
import type { Prompt, Prompts } from "./prompts.js";
import type { WholeImageSettings } from "./settings.js";

/** What is known of an opened model. */
export interface Info {
  readonly architecture: string;
  readonly family: string;
  /** Side `S` of the encoder input in pixels. */
  readonly imageSize: number;
  readonly precision: string;
  /** Whether many prompts on one image cost less, by the split decoder. */
  readonly split: boolean;
  readonly licence: string;
  /** Whether the device has given the bundle's own answer; the processor is not asked. */
  readonly proved: boolean;
}

export interface PredictOptions {
  /** Three masks a prompt, for ambiguous ones such as a single click, instead of one. */
  multimask?: boolean;
  signal?: AbortSignal;
}

/** An opened model, here or in a worker. */
export interface Segmenter {
  /** What computes, such as `wasm` or `webgpu`. */
  readonly device: string;
  /** Why something else computes than was asked for, if so. */
  readonly notice: string | undefined;
  readonly info: Info;
  /** Run the image encoder once; any number of prompts can then be decoded. */
  encode(image: ImageSource): Promise<Embedding>;
  /** One mask a prompt, or three with `multimask`, prompt by prompt. */
  predict(target: Embedding | ImageSource, prompts: Prompt | readonly Prompt[] | Prompts, options?: PredictOptions): Promise<Mask[]>;
  /** All masks of an image. */
  generate(target: Embedding | ImageSource, settings?: Partial<WholeImageSettings>, options?: GenerateOptions): Promise<Mask[]>;
  /** Free the model. */
  close(): Promise<void>;
}
