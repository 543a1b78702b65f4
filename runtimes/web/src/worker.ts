import type { LocalEmbedding } from "./embedding.js";
import { InputError } from "./errors.js";
import type { Ort } from "./graph.js";
import { Mask } from "./mask.js";
import { buffersOf, packedError, type Calls, type Name, type Reply, type Request, type Target } from "./messages.js";
import { Sam } from "./sam.js";
import type { Source } from "./source.js";
import { Turns } from "./turns.js";

/** The side of a worker's global scope, or of one end of a channel, that messages go through. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

type Progress = { signal: AbortSignal; onProgress: (done: number, total: number) => void };

/**
 * Answer the calls of a `SamWorker`; a worker of yours is these three lines:
 *
 *     import * as ort from "onnxruntime-web/webgpu";
 *     import { serve } from "samdeploy/worker";
 *     serve(ort);
 */
export function serve(ort: Ort, port: Port = globalThis as unknown as Port): void {
  const calls = new Served(ort);
  const running = new Map<number, AbortController>();
  const reply = (message: Reply, transfer: Transferable[] = []): void => port.postMessage(message, transfer);
  port.onmessage = async ({ data }: MessageEvent<Request>) => {
    const { id } = data;
    if ("cancel" in data) {
      running.get(id)?.abort();
      return;
    }
    const controller = new AbortController();
    running.set(id, controller);
    try {
      const onProgress = (done: number, total: number): void => reply({ id, progress: [done, total] });
      const result = await calls.call(data.name, data.given, { signal: controller.signal, onProgress });
      reply({ id, result }, Array.isArray(result) ? buffersOf(result) : []);
    } catch (error) {
      reply({ id, error: packedError(error) });
    } finally {
      running.delete(id);
    }
  };
}

class Served {
  private sam: Sam | undefined;
  private readonly embeddings = new Map<number, LocalEmbedding>();
  /** One model is opened at a time, so that the one that was asked for last stays. */
  private readonly openings = new Turns();
  private last = 0;

  constructor(private readonly ort: Ort) {}

  call(name: Name, given: unknown, progress: Progress): Promise<unknown> {
    return (this[name] as (given: unknown, progress: Progress) => Promise<unknown>).call(this, given, progress);
  }

  open({ source, options }: Calls["open"][0], progress: Progress): Promise<Calls["open"][1]> {
    return this.openings.take(async () => {
      await this.close();
      const sam = await Sam.open(source as Source, { ...options, ...progress, ort: this.ort });
      this.sam = sam;
      return { device: sam.device, notice: sam.notice, info: sam.info };
    });
  }

  async encode({ image }: Calls["encode"][0]): Promise<Calls["encode"][1]> {
    const embedding = await this.opened.encode(image);
    this.embeddings.set(++this.last, embedding);
    return { number: this.last };
  }

  async dispose({ number }: Calls["dispose"][0]): Promise<null> {
    this.embeddings.get(number)?.dispose();
    this.embeddings.delete(number);
    return null;
  }

  async predict({ target, prompts, multimask }: Calls["predict"][0], { signal }: Progress): Promise<Calls["predict"][1]> {
    const whole = prompts.map(({ mask, ...rest }) => {
      if (mask === undefined) return rest;
      return { ...rest, mask: ArrayBuffer.isView(mask) ? mask : new Mask(mask) };
    });
    return (await this.opened.predict(this.target(target), whole, { multimask, signal })).map((mask) => mask.data);
  }

  async generate({ target, settings }: Calls["generate"][0], progress: Progress): Promise<Calls["generate"][1]> {
    return (await this.opened.generate(this.target(target), settings, progress)).map((mask) => mask.data);
  }

  async close(): Promise<null> {
    const { sam } = this;
    this.sam = undefined;
    this.embeddings.clear();
    await sam?.close();
    return null;
  }

  private get opened(): Sam {
    if (!this.sam) throw new InputError("no model is open in this worker; open one first.");
    return this.sam;
  }

  private target(target: Target): LocalEmbedding | Exclude<Target, number> {
    if (typeof target !== "number") return target;
    const embedding = this.embeddings.get(target);
    if (!embedding) throw new InputError("this embedding was disposed of; encode the image again.");
    return embedding;
  }
}
