import * as ort from "onnxruntime-node";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { SamWorker, type WorkerPort } from "../src/client.js";
import { DeviceError, InputError } from "../src/errors.js";
import { Runs } from "../src/rle.js";
import { serve } from "../src/worker.js";
import { ask, everything } from "./ask.js";
import { cases, folder, picture } from "./cases.js";
import { expectSame, expectSameList } from "./compare.js";

const source = resolve(folder, "sam_tiny");
const bundle = Object.fromEntries(readdirSync(source).map((name) => [name, new Uint8Array(readFileSync(join(source, name)))]));

// Both ends of a channel in one thread: the same messages as to a worker.
const { port1, port2 } = new MessageChannel();
let sam: SamWorker;

beforeAll(async () => {
  serve(ort, port2 as never);
  const seen: number[] = [];
  sam = await SamWorker.open(bundle, { onProgress: (loaded) => seen.push(loaded) }, port1 as never);
  expect(seen.length).toBeGreaterThan(0);
});
afterAll(async () => {
  await sam.close();
  port1.close();
});

test("a worker answers as the model itself", async () => {
  expect(sam).toMatchObject({ device: "cpu", notice: undefined, info: { family: "sam", imageSize: 256 } });
  const asked = cases.prompting[2]!;
  expectSame(await ask(sam, picture(asked.picture), asked, Runs), asked.masks);
  const wanted = cases.everything[0]!;
  expectSameList(await everything(sam, picture(wanted.picture), wanted), wanted.masks);
});

test("progress and cancelling reach the worker", async () => {
  const said = vi.spyOn(port2, "postMessage");
  const controller = new AbortController();
  let last = 0;
  const onProgress = (done: number, total: number): void => {
    last = done;
    expect(total).toBe(1024);
    if (done >= 32) controller.abort();
  };
  await expect(sam.generate(picture("scene"), {}, { signal: controller.signal, onProgress })).rejects.toMatchObject({ name: "AbortError" });
  expect(last).toBeGreaterThanOrEqual(32);
  expect(last).toBeLessThan(512);
  // The page goes on at once; the worker stops soon after.
  const replies = (): object[] => said.mock.calls.map(([reply]) => reply as object);
  await vi.waitFor(() => expect(replies().some((reply) => "error" in reply)).toBe(true), { timeout: 30_000 });
  expect(replies().filter((reply) => "progress" in reply).length).toBeLessThan(512 / 4);
  said.mockRestore();
});

test("errors come back as what they were", async () => {
  const wrong = sam.predict(picture("scene"), { points: [[-1, 0]] });
  await expect(wrong).rejects.toBeInstanceOf(InputError);
  await expect(wrong).rejects.toThrow(/is outside the image/);
  const embedding = await sam.encode(picture("scene"));
  const [mask] = await sam.predict(embedding, { points: [[90, 60]] });
  expect(await sam.predict(embedding, { mask: mask! })).toHaveLength(1);
  embedding.dispose();
  await expect(sam.predict(embedding, { points: [[90, 60]] })).rejects.toThrow(/disposed of/);
});

/** What is sent to it is kept, and nothing is answered. */
function silent(): WorkerPort & { sent: object[] } {
  const sent: object[] = [];
  return { sent, postMessage: (message) => void sent.push(message as object), onmessage: null, onerror: null };
}

test("who cancels does not wait for the worker", async () => {
  const port = silent();
  const controller = new AbortController();
  const opening = SamWorker.open(bundle, { signal: controller.signal }, port);
  controller.abort();
  await expect(opening).rejects.toMatchObject({ name: "AbortError" });
  const [asked, cancelled] = port.sent as { id: number }[];
  expect(cancelled).toEqual({ id: asked!.id, cancel: true });
});

test("a worker whose script does not load fails every call, also later ones", async () => {
  const port = silent();
  const opening = SamWorker.open(bundle, {}, port);
  port.onerror!({} as ErrorEvent);
  await expect(opening).rejects.toThrow(/the worker failed \(it could not be loaded\)/);
  await expect(SamWorker.open(bundle, {}, port)).rejects.toBeInstanceOf(DeviceError);
});

test("an error in a worker that has answered ends only the calls on their way", async () => {
  const port = silent();
  const answer = (reply: object): void => port.onmessage!({ data: { id: (port.sent.at(-1) as { id: number }).id, ...reply } } as MessageEvent);
  const opening = SamWorker.open(bundle, {}, port);
  answer({ result: { device: "cpu", notice: undefined, info: {} } });
  const opened = await opening;
  const closing = opened.close();
  port.onerror!({ message: "oops" } as ErrorEvent);
  await expect(closing).rejects.toThrow(/the worker failed \(oops\)/);
  const again = opened.close();
  answer({ result: null });
  await again;
});

test("a worker has one model: what was opened before is refused", async () => {
  const { port1: near, port2: far } = new MessageChannel();
  serve(ort, far as never);
  const click = { points: [[90, 60]] } as const;
  try {
    const open = (): Promise<SamWorker> => SamWorker.open(bundle, {}, near as never);
    const first = await open();
    const embedding = await first.encode(picture("scene"));
    const [second, third] = await Promise.all([open(), open()]);
    for (const earlier of [first, second]) {
      const asked = earlier.predict(picture("scene"), click);
      await expect(asked).rejects.toBeInstanceOf(InputError);
      await expect(asked).rejects.toThrow(/was closed when its worker opened another one/);
      await earlier.close();
    }
    await expect(third.predict(embedding, click)).rejects.toThrow(/embedding is of another model/);
    expect(await third.predict(picture("scene"), click)).toHaveLength(1);
    await third.close();
  } finally {
    near.close();
  }
});

test("a worker forgets embeddings with their model", async () => {
  const replies: Record<string, unknown>[] = [];
  const port = { postMessage: (reply: unknown) => void replies.push(reply as Record<string, unknown>), onmessage: null as ((event: never) => unknown) | null };
  serve(ort, port as never);
  const call = async (name: string, given: object): Promise<Record<string, unknown>> => {
    await port.onmessage!({ data: { id: 1, name, given } } as never);
    return replies.at(-1)!;
  };
  await call("open", { source: bundle, options: {} });
  expect(await call("encode", { image: picture("scene") })).toMatchObject({ result: { number: 1 } });
  await call("open", { source: bundle, options: {} });
  const asked = await call("predict", { target: 1, prompts: [{ points: [[90, 60]] }], multimask: false });
  expect(asked).toMatchObject({ error: { name: "InputError", message: expect.stringContaining("disposed of") } });
  await call("close", {});
});
