import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { open, serving } from "../scripts/chromium.mjs";
import type { OpenOptions, Segmenter } from "../src/index.js";
import { ask, everything } from "./ask.js";
import { cases, folder, type Answered, type Asked, type Everything } from "./cases.js";
import { expectSame, expectSameList } from "./compare.js";

const worker = `
  import * as ort from "/node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs";
  import { serve } from "/dist/worker.js";
  ort.env.logLevel = "error";
  serve(ort);`;

interface Work {
  threads?: number;
  device: OpenOptions["device"];
  inWorker: boolean;
  pictures: Record<string, [number, number]>;
  asked: Asked[];
  wanted: Everything[];
}

interface Seen {
  device: string;
  proved: boolean;
  asked: Answered[][];
  wanted: Answered[][];
}

/** Runs in the page. */
async function work({ threads, device, inWorker, pictures, asked, wanted }: Work): Promise<Seen> {
  const { load, ask, everything } = globalThis as any;
  const { Sam } = await load("/dist/index.js");
  const { SamWorker } = await load("/dist/client.js");
  const { Runs } = await load("/dist/rle.js");
  const options = { device, ...(threads ? { threads } : {}) };
  let sam: Segmenter;
  if (inWorker) {
    sam = await SamWorker.open("/cases/sam_tiny", options, new Worker("/worker.js", { type: "module" }));
  } else {
    const ort = await load("/node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs");
    ort.env.logLevel = "error";
    sam = await Sam.open("/cases/sam_tiny", { ...options, ort });
  }
  const picture = async (name: string): Promise<ImageData> => {
    const [height, width] = pictures[name]!;
    const bytes = await (await fetch(`/cases/${name}.rgba`)).arrayBuffer();
    return new ImageData(new Uint8ClampedArray(bytes), width, height);
  };
  const seen: Seen = { device: sam.device, proved: sam.info.proved, asked: [], wanted: [] };
  for (const each of asked) seen.asked.push(await ask(sam, await picture(each.picture), each, Runs));
  for (const each of wanted) seen.wanted.push(await everything(sam, await picture(each.picture), each));
  await sam.close();
  return seen;
}

describe("in Chromium", () => {
  let server: Server;
  let browser: Browser;
  let page: Page;
  const said: string[] = [];

  beforeAll(async () => {
    server = serving({ "/cases/": folder }, { "/worker.js": worker });
    browser = await open();
    page = await browser.newPage();
    page.on("console", (message) => said.push(message.text()));
    await page.goto(`http://localhost:${(server.address() as AddressInfo).port}/`);
    await page.addScriptTag({
      content: `Object.assign(globalThis, { ask: ${ask}, everything: ${everything}, load: (path) => import(path) });`,
    });
    expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(true);
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  const { pictures } = cases;
  const asked = cases.prompting;
  const wanted = cases.everything.slice(0, 1);

  test("WASM with threads, in a worker: prompts and the whole image", async () => {
    const seen = await page.evaluate(work, { device: "wasm", threads: 2, inWorker: true, pictures, asked, wanted });
    expect(seen.device).toBe("wasm");
    asked.forEach((each, i) => expectSame(seen.asked[i]!, each.masks));
    wanted.forEach((each, i) => expectSameList(seen.wanted[i]!, each.masks));
  }, 240_000);

  test("WebGPU for all graphs but the encoder, proved on start-up", async () => {
    const device = { encoder: "wasm", decoder: "webgpu" };
    const seen = await page.evaluate(work, { device, inWorker: false, pictures, asked, wanted: [] });
    expect(seen).toMatchObject({ device: "wasm (encoder) and webgpu (decoder)", proved: true });
    asked.forEach((each, i) => expectSame(seen.asked[i]!, each.masks));
    expect(said.filter((line) => /invalid/i.test(line))).toEqual([]);
  }, 480_000);

  test("what a canvas can draw is an image, and a mask is a picture again", async () => {
    const seen = await page.evaluate(async () => {
      const { load } = globalThis as any;
      const { toRgb } = await load("/dist/image.js");
      const { Mask } = await load("/dist/index.js");
      const image = new ImageData(3, 2);
      image.data.forEach((_, i) => (image.data[i] = i % 4 === 3 ? 255 : 10 * i));
      const canvas = Object.assign(document.createElement("canvas"), { width: 3, height: 2 });
      canvas.getContext("2d")!.putImageData(image, 0, 0);
      const kinds = [image, canvas, await createImageBitmap(canvas)];
      const mask = new Mask({ score: 1, prompt: 0, size: [2, 3], counts: Uint32Array.of(1, 2, 3) });
      const drawn = mask.imageData([1, 2, 3, 4]);
      return { kinds: kinds.map((kind) => [...toRgb(kind).data]), drawn: drawn instanceof ImageData, inside: [...drawn.data.slice(0, 8)] };
    });
    expect(seen.kinds[1]).toEqual(seen.kinds[0]);
    expect(seen.kinds[2]).toEqual(seen.kinds[0]);
    expect(seen).toMatchObject({ drawn: true, inside: [0, 0, 0, 0, 1, 2, 3, 4] });
  });
});
