import type { Answer, Prompt } from "./types";

/** What a browser may compute with. */
export type BrowserChoice = "auto" | "webgpu" | "wasm";

/** What the page may ask of its worker; addresses are absolute. */
export interface Calls {
  open(where: { model: string; onnxruntime: string; choice: BrowserChoice }): Opened;
  encode(picture: ImageData): void;
  predict(prompt: Prompt): Answer;
  generate(nothing: null): Answer[];
}

export interface Opened {
  /** What computes, for people. */
  readonly device: string;
  /** Why it is not what was tried first. */
  readonly why: string | null;
}

export type Name = keyof Calls;

export type Message =
  | { readonly id: number; readonly name: Name; readonly argument: Parameters<Calls[Name]>[0] }
  | { readonly id: number; readonly stop: true };

export type Reply =
  | { readonly id: number; readonly result: ReturnType<Calls[Name]> }
  | { readonly id: number; readonly error: string; readonly stopped: boolean }
  | { readonly id: number; readonly done: number; readonly total: number };
