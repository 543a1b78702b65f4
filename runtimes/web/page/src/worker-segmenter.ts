import { PageError } from "./errors";
import type { BrowserChoice, Calls, Message, Name, Opened, Reply } from "./protocol";
import type { Segmenter, Watch } from "./segmenter";
import type { Site } from "./site";
import type { Answer, Prompt } from "./types";

type Progress = (done: number, total: number) => void;

interface Waiting {
  resolve(result: never): void;
  reject(error: Error): void;
  onProgress: Progress | undefined;
}

/** Open the model of a site in a worker, so that the page never waits for it. The worker ends with
 * `signal`. */
export async function openInWorker(
  site: Site,
  choice: BrowserChoice,
  { signal, onProgress }: Watch,
  calls = new WorkerCalls(),
): Promise<WorkerSegmenter> {
  const { model, onnxruntime } = site;
  if (!model || !onnxruntime) {
    throw new PageError("This site has no model for the browser; let its server compute.");
  }
  const address = (path: string): string => new URL(path, document.baseURI).href;
  const where = { model: address(model), onnxruntime: address(onnxruntime), choice };
  signal.addEventListener("abort", () => calls.close());
  try {
    return new WorkerSegmenter(calls, await calls.call("open", where, { onProgress }));
  } catch (error) {
    calls.close();
    throw error;
  }
}

/** A model in a worker; it holds one picture at a time. */
export class WorkerSegmenter implements Segmenter {
  readonly device: string;
  readonly why: string | null;
  readonly isHere = true;

  constructor(
    private readonly calls: WorkerCalls,
    { device, why }: Opened,
  ) {
    this.device = device;
    this.why = why;
  }

  encode(picture: ImageData): Promise<void> {
    return this.calls.call("encode", picture, { transfer: [picture.data.buffer] });
  }

  predict(prompt: Prompt): Promise<Answer> {
    return this.calls.call("predict", prompt);
  }

  generate(watch: Watch): Promise<Answer[]> {
    return this.calls.call("generate", null, watch);
  }

  close(): void {
    this.calls.close();
  }
}

/** Calls to the worker, each answered by a message with its number. */
export class WorkerCalls {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;
  private broken: Error | undefined;

  constructor() {
    this.worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => this.take(data));
    this.worker.addEventListener("error", (event) => {
      this.fail(new PageError(event.message || "The page's worker did not start; reload the page."));
    });
  }

  call<N extends Name>(
    name: N,
    argument: Parameters<Calls[N]>[0],
    { onProgress, signal, transfer = [] }: Partial<Watch> & { transfer?: Transferable[] } = {},
  ): Promise<ReturnType<Calls[N]>> {
    const id = ++this.count;
    const send = (message: Message): void => this.worker.postMessage(message, transfer);
    return new Promise((resolve, reject) => {
      if (this.broken) throw this.broken;
      signal?.throwIfAborted();
      signal?.addEventListener("abort", () => this.worker.postMessage({ id, stop: true }));
      this.waiting.set(id, { resolve, reject, onProgress });
      send({ id, name, argument });
    });
  }

  close(): void {
    this.worker.terminate();
    this.fail(new DOMException("The model was closed.", "AbortError"));
  }

  private take(reply: Reply): void {
    const waiting = this.waiting.get(reply.id);
    if (!waiting) return;
    if ("total" in reply) {
      waiting.onProgress?.(reply.done, reply.total);
      return;
    }
    this.waiting.delete(reply.id);
    if ("result" in reply) waiting.resolve(reply.result as never);
    else if (reply.stopped) waiting.reject(new DOMException(reply.error, "AbortError"));
    else waiting.reject(new PageError(reply.error));
  }

  private fail(error: Error): void {
    this.broken = error;
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
