import { Sam, SamDeployError, type Embedding, type Mask, type Ort } from "../../src/index";
import type { BrowserChoice, Calls, Message, Name, Reply } from "./protocol";
import type { Answer } from "./types";

/** Computes for the page. Masks leave as run lengths: large ones take a while to make, and the page
 * must not wait meanwhile. */

interface Watch {
  signal: AbortSignal;
  onProgress: (done: number, total: number) => void;
}

type Handlers = {
  [N in Name]: (
    argument: Parameters<Calls[N]>[0],
    watch: Watch,
  ) => Promise<Awaited<ReturnType<Calls[N]>>>;
};

let sam: Sam | undefined;
let embedding: Embedding | undefined;

const handlers: Handlers = {
  async open({ model, onnxruntime, choice }, watch) {
    const device = choice === "auto" ? await likelyDevice() : choice;
    const ort = await loadRuntime(onnxruntime, device);
    const allowFallback = choice === "auto";
    sam = await Sam.open(model, { ort, device, allowFallback, ...watch });
    return { device: shownDevice(sam.device, ort), why: sam.notice ?? null };
  },

  async encode(picture) {
    embedding?.dispose();
    embedding = undefined;
    embedding = await opened().encode(picture);
  },

  async predict({ points, labels, box }, { signal }) {
    // One click alone may mean a part or the whole: the best of three answers that.
    const multimask = !box && points.length === 1;
    const prompt = { ...(points.length && { points, labels }), ...(box && { box }) };
    const masks = await opened().predict(looked(), prompt, { multimask, signal });
    return answerOf(masks.reduce((best, mask) => (mask.score > best.score ? mask : best)));
  },

  async generate(_, watch) {
    return (await opened().generate(looked(), {}, watch)).map(answerOf);
  },
};

function opened(): Sam {
  if (!sam) throw new SamDeployError("The model is not open; reload the page.");
  return sam;
}

function looked(): Embedding {
  if (!embedding) throw new SamDeployError("There is no picture to segment; open one.");
  return embedding;
}

function answerOf(mask: Mask): Answer {
  return { rle: mask.rle(), score: mask.score };
}

/** WebGPU on a graphics card; one that is only imitated by the processor is slower than WASM. */
async function likelyDevice(): Promise<Exclude<BrowserChoice, "auto">> {
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } }).gpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  const imitated = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter;
  return adapter && !imitated ? "webgpu" : "wasm";
}

interface Adapter {
  readonly info?: { readonly isFallbackAdapter?: boolean };
  readonly isFallbackAdapter?: boolean;
}

/** The smallest build that computes there. */
async function loadRuntime(folder: string, device: string): Promise<Ort> {
  const script = device === "webgpu" ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs";
  const ort = (await import(/* @vite-ignore */ folder + script)) as Ort & {
    env: { wasm: { wasmPaths?: string } };
  };
  ort.env.wasm.wasmPaths = folder;
  return ort;
}

function shownDevice(device: string, ort: Ort): string {
  if (device === "webgpu") return "WebGPU";
  if (device !== "wasm") return device;
  const threads = ort.env?.wasm?.numThreads ?? 1;
  return threads > 1 ? `WASM, ${threads} threads` : "WASM";
}

const running = new Map<number, AbortController>();

self.addEventListener("message", ({ data }: MessageEvent<Message>) => {
  if ("stop" in data) running.get(data.id)?.abort();
  else void answer(data);
});

async function answer({ id, name, argument }: Exclude<Message, { stop: true }>): Promise<void> {
  const reply = (message: Reply): void => self.postMessage(message);
  const controller = new AbortController();
  running.set(id, controller);
  const { signal } = controller;
  const onProgress = (done: number, total: number): void => reply({ id, done, total });
  try {
    const handler = handlers[name] as (argument: unknown, watch: Watch) => Promise<never>;
    reply({ id, result: await handler(argument, { signal, onProgress }) });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    reply({ id, error: text, stopped: signal.aborted });
  } finally {
    running.delete(id);
  }
}
