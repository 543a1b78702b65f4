import { BundleError, DeviceError, InputError, SamDeployError } from "./errors.js";
import type { RgbaImage } from "./image.js";
import type { MaskData } from "./mask.js";
import type { Device } from "./opening.js";
import type { Info } from "./segmenter.js";
import type { WholeImageSettings } from "./settings.js";

/** An image, or the number of an embedding that the worker holds. */
export type Target = RgbaImage | number;

/** A prompt whose mask is plain values. */
export interface PlainPrompt {
  points?: readonly (readonly [number, number])[];
  labels?: readonly number[];
  box?: readonly [number, number, number, number];
  mask?: MaskData | Float32Array | Uint8Array;
}

/** What a worker can be asked, by name: what it is given, and what it answers. */
export interface Calls {
  open: [{ source: unknown; options: { device?: Device; allowFallback?: boolean; unproved?: boolean; threads?: number } }, Opened];
  encode: [{ image: RgbaImage }, { number: number }];
  dispose: [{ number: number }, null];
  predict: [{ target: Target; prompts: readonly PlainPrompt[]; multimask: boolean }, MaskData[]];
  generate: [{ target: Target; settings: Partial<WholeImageSettings> }, MaskData[]];
  close: [Record<string, never>, null];
}

export interface Opened {
  readonly device: string;
  readonly notice: string | undefined;
  readonly info: Info;
}

export type Name = keyof Calls;

/** To the worker: a call, or the wish to end one. */
export type Request = { id: number; name: Name; given: unknown } | { id: number; cancel: true };

/** From the worker: how far a call is, what it gave, or why it failed. */
export type Reply =
  | { id: number; progress: readonly [number, number] }
  | { id: number; result: unknown }
  | { id: number; error: { name: string; message: string } };

const errors: Readonly<Record<string, new (message: string) => Error>> = { SamDeployError, InputError, BundleError, DeviceError };

export function packedError(error: unknown): { name: string; message: string } {
  const { name, message } = error instanceof Error || error instanceof DOMException ? error : { name: "Error", message: String(error) };
  return { name, message };
}

export function unpackedError({ name, message }: { name: string; message: string }): Error {
  if (name === "AbortError") return new DOMException(message, name);
  return Object.assign(new (errors[name] ?? Error)(message), { name });
}

/** Buffers that a message may move instead of copying them: those of masks, which nobody else has. */
export function buffersOf(masks: readonly MaskData[]): ArrayBuffer[] {
  return masks.flatMap(({ lowRes, counts }) => [lowRes, counts].flatMap((array) => (array ? [array.buffer as ArrayBuffer] : [])));
}
