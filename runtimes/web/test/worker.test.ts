import * as ort from "onnxruntime-node";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SamWorker } from "../src/client.js";
import { InputError } from "../src/errors.js";
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
