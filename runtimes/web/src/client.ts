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
    private readonly calls: Caller,
    private readonly opened: Opened,
  ) {}

  /** A worker has one model: that of an earlier `SamWorker` of the same worker is closed. */
  static async open(source: WorkerSource, options: WorkerOpenOptions, worker: WorkerPort): Promise<SamWorker> {
    const { signal, onProgress, ...rest } = options;
    signal?.throwIfAborted();
    // The worker has an address of its own, to which a relative URL would not be meant.
    const place = typeof source === "string" ? new URL(source, globalThis.location?.href).href : source instanceof URL ? source.href : source;
    const calls = Line.to(worker).caller();
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
    const given = { target: this.sent(target), prompts: plain, multimask };
    return (await this.calls.call("predict", given, signal ? { signal } : {})).map((data) => new Mask(data));
  }

  async generate(
    target: Embedding | ImageSource,
    settings: Partial<WholeImageSettings> = {},
    options: GenerateOptions = {},
  ): Promise<Mask[]> {
    return (await this.calls.call("generate", { target: this.sent(target), settings }, options)).map((data) => new Mask(data));
  }

  /** Free the model; the worker itself stays, and can open another one. */
  async close(): Promise<void> {
    if (this.calls.superseded) return; // it was freed then
    await this.calls.call("close", {});
  }

  private sent(target: Embedding | ImageSource): Target {
    if (target instanceof RemoteEmbedding) return target.numberFor(this.calls);
    const { data, width, height } = toRgba(target as ImageSource);
    return { data, width, height };
  }
}

class RemoteEmbedding implements Embedding {
  private disposed = false;

  constructor(
    private readonly calls: Caller,
    private readonly key: number,
    readonly width: number,
    readonly height: number,
  ) {}

  numberFor(calls: Caller): number {
    if (this.disposed) throw new InputError("this embedding was disposed of; encode the image again.");
    if (calls !== this.calls) throw new InputError("this embedding is of another model; encode the image with the one that decodes it.");
    return this.key;
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    void this.calls.call("dispose", { number: this.key }).catch(() => undefined);
  }
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  progress: ((done: number, total: number) => void) | undefined;
}

/** Calls of one `SamWorker`, as long as its model is the one that its worker has. */
class Caller {
  constructor(private readonly line: Line) {}

  get superseded(): boolean {
    return this.line.owner !== this;
  }

  async call<N extends Name>(name: N, given: Calls[N][0], options: GenerateOptions = {}): Promise<Calls[N][1]> {
    if (this.superseded) {
      throw new InputError("this model was closed when its worker opened another one; ask that one, or give each a worker of its own.");
    }
    return this.line.call(name, given, options);
  }
}

/** The one way to a worker, whoever calls: calls on their way, by number. */
class Line {
  private static readonly known = new WeakMap<WorkerPort, Line>();
  /** Who asked last for a model. */
  owner: Caller | undefined;
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;
  private answered = false;
  /** Why the worker never began. */
  private broken: DeviceError | undefined;

  static to(worker: WorkerPort): Line {
    const line = Line.known.get(worker) ?? new Line(worker);
    Line.known.set(worker, line);
    return line;
  }

  private constructor(private readonly worker: WorkerPort) {
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.take(data);
    worker.onerror = (event) => {
      const error = new DeviceError(`the worker failed (${event.message || "it could not be loaded"}); check its address and its console.`);
      // A script that has answered once goes on after an error; one that never did will not.
      if (!this.answered) this.broken = error;
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    };
  }

  caller(): Caller {
    return (this.owner = new Caller(this));
  }

  async call<N extends Name>(name: N, given: Calls[N][0], { signal, onProgress }: GenerateOptions): Promise<Calls[N][1]> {
    signal?.throwIfAborted();
    if (this.broken) throw this.broken;
    const id = ++this.last;
    const result = new Promise<unknown>((resolve, reject) => this.waiting.set(id, { resolve, reject, progress: onProgress }));
    const cancel = (): void => {
      this.worker.postMessage({ id, cancel: true });
      // At once: the worker may be at work for long before it hears.
      this.waiting.get(id)?.reject(signal!.reason);
    };
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
    this.answered = true;
    const call = this.waiting.get(reply.id);
    if (!call) return;
    if ("progress" in reply) call.progress?.(...reply.progress);
    else if ("error" in reply) call.reject(unpackedError(reply.error));
    else call.resolve(reply.result);
  }
}
