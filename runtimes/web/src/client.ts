import type { Embedding } from "./embedding.js";
import { DeviceError, InputError } from "./errors.js";
import type { GenerateOptions } from "./generate.js";
import { toRgba, type ImageSource } from "./image.js";
import { Mask } from "./mask.js";
import { unpackedError, type Calls, type Name, type Opened, type PlainPrompt, type Reply, type Target } from "./messages.js";
import type { OpenOptions } from "./opening.js";
import { promptList, type Prompt, type Prompts } from "./prompts.js";
import type { Info, PredictOptions, Segmenter } from "./segmenter.js";
import type { WholeImageSettings } from "./settings.js";

/** A worker that runs `serve` of `samdeploy/worker`, or one end of a channel to it. */
export interface WorkerPort {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
  onerror?: ((event: ErrorEvent) => void) | null;
  terminate?(): void;
}

/** What a message to a worker can hold: a URL, or the bytes of a bundle by path. */
export type WorkerSource = string | URL | ReadonlyMap<string, Uint8Array> | Readonly<Record<string, Uint8Array>>;

/** `ort` and `fetch` are the worker's own. */
export type WorkerOpenOptions = Omit<OpenOptions, "ort" | "fetch">;

/** A model in a worker: the page stays responsive while it computes. */
export class SamWorker implements Segmenter {
  private constructor(
    private readonly calls: Callers,
    private readonly opened: Opened,
  ) {}

  static async open(source: WorkerSource, options: WorkerOpenOptions, worker: WorkerPort): Promise<SamWorker> {
    const { signal, onProgress, ...rest } = options;
    const calls = new Callers(worker);
    // The worker has an address of its own, to which a relative URL would not be meant.
    const place = typeof source === "string" ? new URL(source, globalThis.location?.href).href : source instanceof URL ? source.href : source;
    const opened = await calls.call("open", { source: place, options: rest }, { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) });
    return new SamWorker(calls, opened);
  }

  get device(): string {
    return this.opened.device;
  }

  get notice(): string | undefined {
    return this.opened.notice;
  }

  get info(): Info {
    return this.opened.info;
  }

  async encode(image: ImageSource): Promise<Embedding> {
    const { data, width, height } = toRgba(image);
    const { number } = await this.calls.call("encode", { image: { data, width, height } });
    return new RemoteEmbedding(this.calls, number, width, height);
  }

  async predict(
    target: Embedding | ImageSource,
    prompts: Prompt | readonly Prompt[] | Prompts,
    { multimask = false, signal }: PredictOptions = {},
  ): Promise<Mask[]> {
    const plain = promptList(prompts).map(({ mask, ...rest }): PlainPrompt => {
      if (mask === undefined) return rest;
      return { ...rest, mask: mask instanceof Mask ? mask.data : mask };
    });
    const given = { target: sent(target), prompts: plain, multimask };
    return (await this.calls.call("predict", given, signal ? { signal } : {})).map((data) => new Mask(data));
  }

  async generate(
    target: Embedding | ImageSource,
    settings: Partial<WholeImageSettings> = {},
    options: GenerateOptions = {},
  ): Promise<Mask[]> {
    return (await this.calls.call("generate", { target: sent(target), settings }, options)).map((data) => new Mask(data));
  }

  /** Free the model; the worker itself stays, and can open another one. */
  async close(): Promise<void> {
    await this.calls.call("close", {});
  }
}

class RemoteEmbedding implements Embedding {
  private disposed = false;

  constructor(
    private readonly calls: Callers,
    private readonly key: number,
    readonly width: number,
    readonly height: number,
  ) {}

  get number(): number {
    if (this.disposed) throw new InputError("this embedding was disposed of; encode the image again.");
    return this.key;
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    void this.calls.call("dispose", { number: this.key }).catch(() => undefined);
  }
}

function sent(target: Embedding | ImageSource): Target {
  if (target instanceof RemoteEmbedding) return target.number;
  const { data, width, height } = toRgba(target as ImageSource);
  return { data, width, height };
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  progress: ((done: number, total: number) => void) | undefined;
}

/** Calls on their way, by number. */
class Callers {
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  constructor(private readonly worker: WorkerPort) {
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.take(data);
    worker.onerror = (event) => {
      const error = new DeviceError(`the worker failed (${event.message || "it could not be loaded"}); check its address and its console.`);
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    };
  }

  async call<N extends Name>(name: N, given: Calls[N][0], { signal, onProgress }: GenerateOptions = {}): Promise<Calls[N][1]> {
    signal?.throwIfAborted();
    const id = ++this.last;
    const cancel = (): void => this.worker.postMessage({ id, cancel: true });
    const result = new Promise<unknown>((resolve, reject) => this.waiting.set(id, { resolve, reject, progress: onProgress }));
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      this.worker.postMessage({ id, name, given });
      return (await result) as Calls[N][1];
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.waiting.delete(id);
    }
  }

  private take(reply: Reply): void {
    const call = this.waiting.get(reply.id);
    if (!call) return;
    if ("progress" in reply) call.progress?.(...reply.progress);
    else if ("error" in reply) call.reject(unpackedError(reply.error));
    else call.resolve(reply.result);
  }
}
