import type { Transform } from "./geometry.js";
import type { Floats } from "./graph.js";
import type { Rgb } from "./resize.js";

/** An encoded image: any number of prompts are decoded from it. */
export interface Embedding {
  readonly width: number;
  readonly height: number;
  /** Let its memory go; it cannot be used afterwards. */
  dispose(): void;
}

/** The same where it was computed. */
export class LocalEmbedding implements Embedding {
  /** What `prepare` gave, once it was asked. */
  prepared: Promise<Readonly<Record<string, Floats>>> | undefined;

  constructor(
    /** What the encoder gave, by name. */
    public tensors: Readonly<Record<string, Floats>>,
    readonly transform: Transform,
    readonly image: Rgb,
  ) {}

  get width(): number {
    return this.transform.original[1];
  }

  get height(): number {
    return this.transform.original[0];
  }

  get disposed(): boolean {
    return !Object.keys(this.tensors).length;
  }

  dispose(): void {
    this.tensors = {};
    this.prepared = undefined;
  }
}
