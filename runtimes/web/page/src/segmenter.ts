import type { Answer, Prompt } from "./types";

export interface Watch {
  signal: AbortSignal;
  /** Where it is known how much is done. */
  onProgress: (done: number, total: number) => void;
}

/** A model that computes somewhere: in a worker of this page, or on the page's server. */
export interface Segmenter {
  /** What computes, for people. */
  readonly device: string;
  /** Why it is not what was tried first. */
  readonly why: string | null;
  /** Whether pictures stay on this device. */
  readonly isHere: boolean;
  /** Look at a picture; the following answers are about it. */
  encode(picture: ImageData): Promise<void>;
  /** The best answer to a prompt. */
  predict(prompt: Prompt): Promise<Answer>;
  /** Everything in the picture, the best first. */
  generate(watch: Watch): Promise<Answer[]>;
  close(): void;
}
