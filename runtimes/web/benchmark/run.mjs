// Times one place to compute in a process of its own; called by benchmarks/web.py, which says what to measure.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { open, serving } from "../scripts/chromium.mjs";

/** Runs in Node and, from its source text, in a page. */
async function measure({ folder, size, click, stride, stages }, { Sam, openBundle, pixels, options }) {
  const image = { data: pixels, width: size[1], height: size[0] };
  const times = {};
  for (const [model, names] of Object.entries(stages)) {
    const sam = await Sam.open(await openBundle(`${folder}/${model}`), options);
    const embedding = await sam.encode(image);
    const calls = {
      encode: [3, async () => (await sam.encode(image)).dispose()],
      click: [10, async () => (await sam.predict(embedding, { points: [click] }))[0].bitmap()],
      "whole image": [1, async () => (await sam.generate(image, { pointsStride: stride })).map((mask) => mask.rle())],
    };
    times[model] = {};
    for (const name of names) {
      const [count, call] = calls[name];
      await call();
      times[model][name] = [];
      for (let i = 0; i < count; i++) {
        const start = performance.now();
        await call();
        times[model][name].push((performance.now() - start) / 1000);
      }
    }
    embedding.dispose();
    await sam.close();
  }
  return times;
}

async function inNode(work, threads) {
  const ort = await import("onnxruntime-node");
  const { Sam } = await import("../dist/index.js");
  const { openFolder } = await import("../dist/node.js");
  const pixels = new Uint8ClampedArray(readFileSync(join(work.folder, "picture.rgba")));
  return measure(work, { Sam, openBundle: openFolder, pixels, options: { ort, threads } });
}

async function inChromium(work, threads) {
  const server = serving({ "/work/": work.folder });
  const browser = await open();
  try {
    const page = await browser.newPage();
    await page.goto(`http://localhost:${server.address().port}/`);
    await page.addScriptTag({ content: `globalThis.measure = ${measure};` });
    return await page.evaluate(
      async ([work, threads]) => {
        const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
        const { Sam } = await import("/dist/index.js");
        const pixels = new Uint8ClampedArray(await (await fetch("/work/picture.rgba")).arrayBuffer());
        const options = { ort, threads, device: "wasm" };
        return globalThis.measure({ ...work, folder: "/work" }, { Sam, openBundle: (url) => url, pixels, options });
      },
      [work, threads],
    );
  } finally {
    await browser.close();
    server.close();
  }
}

const [where, threads, work] = process.argv.slice(2);
const run = { node: inNode, chromium: inChromium }[where];
console.log(JSON.stringify(await run(JSON.parse(work), Number(threads))));
process.exit();
