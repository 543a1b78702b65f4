import * as node from "onnxruntime-node";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, expect, test, vi } from "vitest";
import { DeviceError, Sam, type OpenOptions, type Ort } from "../src/index.js";
import { examplePicture } from "../src/golden.js";
import { openFolder } from "../src/node.js";
import { folder, picture } from "./cases.js";

const source = resolve(folder, "sam_tiny");
const bundle = Object.fromEntries(readdirSync(source).map((name) => [name, new Uint8Array(readFileSync(join(source, name)))]));
const manifest = JSON.parse(new TextDecoder().decode(bundle["bundle.json"])) as Record<string, unknown>;
const without = new TextEncoder().encode(JSON.stringify({ ...manifest, golden: undefined }));

/** ONNX Runtime with a device "webgpu" that is the processor, with answers that `spoil` may change. */
function withDevice(spoil: (outputs: Record<string, node.Tensor>) => void, opens: string[] = []): Ort {
  const create = async (bytes: Uint8Array, options: node.InferenceSession.SessionOptions): Promise<node.InferenceSession> => {
    const device = String(options.executionProviders?.[0]);
    opens.push(device);
    const session = await node.InferenceSession.create(bytes, { ...options, executionProviders: ["cpu"] });
    if (device === "cpu") return session;
    const run = session.run.bind(session);
    session.run = async (feeds: node.InferenceSession.FeedsType) => {
      const outputs = await run(feeds);
      spoil(outputs as Record<string, node.Tensor>);
      return outputs;
    };
    return session;
  };
  return { ...node, InferenceSession: { create } } as unknown as Ort;
}

function opened(ort: Ort, options: Partial<OpenOptions> = {}, files: Record<string, Uint8Array> = bundle): Promise<Sam> {
  return Sam.open(files, { ort, device: "webgpu", ...options });
}

const right = (): void => undefined;
/** What a browser did with a Concat of 11: other numbers, and no error. */
const wrongKeys = (outputs: Record<string, node.Tensor>): void => {
  (outputs["image_keys"]?.data as Float32Array | undefined)?.forEach((_, i, data) => i % 3 || (data[i] = 6.2));
};
const noNumbers = (outputs: Record<string, node.Tensor>): void => {
  (outputs["iou_predictions"]?.data as Float32Array | undefined)?.fill(NaN);
};
/** Ratings stay as they are, masks do not. */
const movedMasks = (outputs: Record<string, node.Tensor>): void => {
  const masks = outputs["low_res_masks"]?.data as Float32Array | undefined;
  masks?.copyWithin(0, 9);
};

afterEach(() => vi.unstubAllGlobals());

test("the example's picture is that of the document", () => {
  const { data, size } = examplePicture(400, 310);
  const known = picture("example");
  expect(size).toEqual([known.height, known.width]);
  expect([...data]).toEqual([...known.data].filter((_, i) => i % 4 !== 3));
});

test("a device that gives the bundle's own answer is taken", async () => {
  const sam = await opened(withDevice(right));
  expect(sam).toMatchObject({ device: "webgpu", notice: undefined, info: { proved: true } });
  await sam.close();
});

test.each([
  [wrongKeys, /webgpu computes this model wrongly/],
  [noNumbers, /rates the masks of the bundle's own click NaN, NaN, NaN, NaN instead of/],
  [movedMasks, /the mask of the bundle's own click overlaps the right one by 0\.\d+; use another device/],
])("a device with other answers is refused, unless the processor may take its place: %o", async (spoil, message) => {
  const refused = opened(withDevice(spoil));
  await expect(refused).rejects.toThrow(message);
  await expect(refused).rejects.toBeInstanceOf(DeviceError);
  const opens: string[] = [];
  const sam = await opened(withDevice(spoil, opens), { allowFallback: true });
  expect(sam.device).toBe("cpu");
  expect(sam.notice).toMatch(/^cpu computes, because webgpu computes this model wrongly/);
  expect(opens.at(-1)).toBe("cpu");
  expect(await sam.predict(picture("scene"), { points: [[90, 60]] })).toHaveLength(1);
  await sam.close();
});

test("without a golden answer a device is taken only by those who say so", async () => {
  const files = { ...bundle, "bundle.json": without };
  const opens: string[] = [];
  await expect(opened(withDevice(right, opens), {}, files)).rejects.toThrow(/holds no golden answer.*unproved: true/);
  expect(opens).toEqual([]);
  const sam = await opened(withDevice(right), { unproved: true }, files);
  expect(sam).toMatchObject({ device: "webgpu", info: { proved: false } });
  await sam.close();
});

test("a browser without WebGPU, or without an adapter, says so", async () => {
  vi.stubGlobal("navigator", {});
  await expect(opened(withDevice(right))).rejects.toThrow(/WebGPU is not there in this browser/);
  vi.stubGlobal("navigator", { gpu: { requestAdapter: async () => null } });
  await expect(opened(withDevice(right))).rejects.toThrow(/finds no graphics adapter/);
});

test("encoder and decoder may have devices of their own", async () => {
  const opens: string[] = [];
  const sam = await opened(withDevice(right, opens), { device: { encoder: "cpu", decoder: "webgpu" } });
  expect(sam.device).toBe("cpu (encoder) and webgpu (decoder)");
  expect(opens.filter((device) => device === "cpu")).toHaveLength(1);
  await sam.close();
});

test("a device that ONNX Runtime does not have is one sentence", async () => {
  await expect(Sam.open(bundle, { ort: node, device: "abacus", unproved: true })).rejects.toThrow(/abacus cannot open the encoder graph/);
  await expect(Sam.open(bundle, { ort: node, device: {} as never })).rejects.toThrow(/device {}; expected a name/);
  await expect(Sam.open(bundle, { ort: node, threads: 0 })).rejects.toThrow(/threads=0; expected a whole number/);
});

test("a device that fails while it computes is one sentence", async () => {
  const fails = (): void => {
    throw new Error("device lost\nstack");
  };
  await expect(opened(withDevice(fails))).rejects.toThrow("webgpu failed while it ran the encoder graph (device lost); choose another device.");
  const short = (outputs: Record<string, node.Tensor>): void => {
    for (const name of Object.keys(outputs)) outputs[name] = new node.Tensor("float32", [1], [1]);
  };
  await expect(opened(withDevice(short))).rejects.toThrow(/gave a wrong answer on webgpu: 'image_embeddings' \[1\]/);
});

test("the processor opens the plain decoder when a prompt with a mask needs it", async () => {
  const opens: string[] = [];
  const sam = await opened(withDevice(right, opens), { device: "cpu" });
  expect(opens).toHaveLength(4);
  const embedding = await sam.encode(picture("example"));
  const [mask] = await sam.predict(embedding, { points: [[150, 140]] });
  expect(opens).toHaveLength(4);
  for (let i = 0; i < 2; i++) {
    const [again] = await sam.predict(embedding, { points: [[150, 140]], mask: mask! });
    expect(again!.score).toBeGreaterThan(0.5);
    expect(opens).toHaveLength(5);
  }
  await sam.close();
});

test("the bytes of a graph are let go once it is open", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const read: WeakRef<Uint8Array>[] = [];
  const create = (bytes: Uint8Array, options: node.InferenceSession.SessionOptions): Promise<node.InferenceSession> => {
    read.push(new WeakRef(bytes));
    return node.InferenceSession.create(bytes, options);
  };
  const sam = await Sam.open(await openFolder(source), { ort: { ...node, InferenceSession: { create } } as unknown as Ort });
  const embedding = await sam.encode(picture("example"));
  expect(read).toHaveLength(4);
  const held = (): number => (collect(), read.filter((bytes) => bytes.deref()).length);
  await vi.waitFor(() => expect(held()).toBe(0), { timeout: 10_000 });
  expect(await sam.predict(embedding, { points: [[150, 140]] })).toHaveLength(1);
  await sam.close();
});

test("a graph that cannot be opened says so each time", async () => {
  const ort = withDevice(right);
  const { create } = ort.InferenceSession;
  let made = 0;
  const broken = (...given: Parameters<typeof create>): ReturnType<typeof create> =>
    ++made > 4 ? Promise.reject(new Error("no memory")) : create(...given);
  const sam = await opened({ ...ort, InferenceSession: { create: broken } } as unknown as Ort, { device: "cpu" });
  const embedding = await sam.encode(picture("example"));
  const [mask] = await sam.predict(embedding, { points: [[150, 140]] });
  for (let i = 0; i < 2; i++) {
    const asked = sam.predict(embedding, { points: [[150, 140]], mask: mask! });
    await expect(asked).rejects.toThrow("cpu cannot open the decoder graph (no memory); choose another device.");
  }
  await sam.close();
});
