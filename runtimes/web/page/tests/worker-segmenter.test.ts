import { expect, test, vi } from "vitest";
import type { Watch } from "../src/segmenter";
import { openInWorker, WorkerCalls } from "../src/worker-segmenter";

/** A worker that answers when the test says so; what it was sent is kept. */
class SilentWorker extends EventTarget {
  static last: SilentWorker;
  readonly sent: unknown[] = [];
  ended = false;

  constructor() {
    super();
    SilentWorker.last = this;
  }

  postMessage(message: unknown): void {
    this.sent.push(message);
  }

  terminate(): void {
    this.ended = true;
  }

  reply(data: unknown): void {
    this.dispatchEvent(new MessageEvent("message", { data }));
  }
}

vi.stubGlobal("Worker", SilentWorker);
vi.stubGlobal("document", { baseURI: "http://x/" });
const site = { name: "m", model: "model/", onnxruntime: "onnxruntime/" };

function watch(): Watch & { controller: AbortController; seen: number[] } {
  const controller = new AbortController();
  const seen: number[] = [];
  return { controller, seen, signal: controller.signal, onProgress: (done) => seen.push(done) };
}

test("a call that is cancelled reaches the worker", async () => {
  const { controller, ...given } = watch();
  const calls = new WorkerCalls();
  const found = calls.call("generate", null, given);
  controller.abort();
  const [asked, stopped] = SilentWorker.last.sent as { id: number }[];
  expect(stopped).toEqual({ id: asked!.id, stop: true });
  SilentWorker.last.reply({ id: asked!.id, error: "aborted", stopped: true });
  await expect(found).rejects.toMatchObject({ name: "AbortError" });
});

test("a call that was cancelled before is not made", async () => {
  const { controller, ...given } = watch();
  controller.abort();
  const found = new WorkerCalls().call("generate", null, given);
  await expect(found).rejects.toMatchObject({ name: "AbortError" });
  expect(SilentWorker.last.sent).toEqual([]);
});

test("the worker ends at once when another device is chosen, while it loads and later", async () => {
  const first = watch();
  const loading = openInWorker(site, "auto", first);
  SilentWorker.last.reply({ id: 1, done: 1, total: 2 });
  first.controller.abort();
  expect(SilentWorker.last.ended).toBe(true);
  SilentWorker.last.reply({ id: 1, done: 2, total: 2 });
  await expect(loading).rejects.toMatchObject({ name: "AbortError" });
  expect(first.seen).toEqual([1]);

  const second = watch();
  const opening = openInWorker(site, "wasm", second);
  SilentWorker.last.reply({ id: 1, result: { device: "WASM", why: null } });
  const segmenter = await opening;
  const asked = segmenter.predict({ points: [[1, 2]], labels: [1] });
  second.controller.abort();
  expect(SilentWorker.last.ended).toBe(true);
  await expect(asked).rejects.toMatchObject({ name: "AbortError" });
});
