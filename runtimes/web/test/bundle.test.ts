import * as ort from "onnxruntime-node";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Sam } from "../src/index.js";
import { openFolder } from "../src/node.js";
import { externalFiles } from "../src/onnx_file.js";
import { folder, picture } from "./cases.js";

const source = resolve(folder, "sam_tiny");
const files = (): Record<string, Uint8Array> =>
  Object.fromEntries(readdirSync(source).map((name) => [name, new Uint8Array(readFileSync(join(source, name)))]));

type Json = Record<string, unknown> & { graphs: { role: string; files: { path: string; bytes: number; sha256: string }[] }[] };

/** The bundle with another manifest. */
function changed(change: (manifest: Json) => void): Record<string, Uint8Array> {
  const bundle = files();
  const manifest = JSON.parse(new TextDecoder().decode(bundle["bundle.json"])) as Json;
  change(manifest);
  return { ...bundle, "bundle.json": new TextEncoder().encode(JSON.stringify(manifest)) };
}

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("a bundle that is not what it should be is refused", () => {
  const cases: [string, () => Record<string, Uint8Array>, RegExp][] = [
    ["nothing", () => ({}), /lacks 'bundle.json'/],
    ["no JSON", () => ({ "bundle.json": new TextEncoder().encode("{") }), /is no JSON .*; export it again/],
    ["a list", () => ({ "bundle.json": new TextEncoder().encode("[]") }), /bundle.json \[\]; expected an object/],
    ["newer", () => changed((m) => (m["schema_version"] = 99)), /schema version 99, this samdeploy reads 1; upgrade/],
    ["another format", () => changed((m) => (m["format"] = "openvino")), /format openvino; expected onnx/],
    ["another family", () => changed((m) => (m["family"] = "yolo")), /family 'yolo'; expected one of sam, sam_hq, sam2/],
    ["a prototype's name", () => changed((m) => (m["family"] = "constructor")), /family 'constructor'/],
    ["no size", () => changed((m) => (m["image_size"] = 1e9)), /image_size 1000000000; expected a whole number/],
    ["another size", () => changed((m) => (m["image_size"] = 512)), /encoder 'image' .*; expected \[1,3,512,512\]/],
    ["a graph too few", () => changed((m) => m.graphs.splice(2, 1)), /has no \w+ graph/],
    ["a graph twice", () => changed((m) => (m.graphs[1]!.role = "encoder")), /graph "encoder"; expected one of/],
    ["a path up", () => changed((m) => (m.graphs[0]!.files[0]!.path = "../x.onnx")), /names '..\/x.onnx', which is outside/],
    ["a path from the root", () => changed((m) => (m.graphs[0]!.files[0]!.path = "/etc/passwd")), /outside its folder/],
    ["a path of another system", () => changed((m) => (m.graphs[0]!.files[0]!.path = "..\\x")), /outside its folder/],
    ["a path elsewhere", () => changed((m) => (m.graphs[0]!.files[0]!.path = "https://x")), /outside its folder/],
    ["no digest", () => changed((m) => (m.graphs[0]!.files[0]!.sha256 = "x")), /expected 64 hex digits/],
    ["another length", () => changed((m) => (m.graphs[0]!.files[0]!.bytes = 7)), /has \d+ bytes, the manifest says 7/],
    ["steps it cannot do", () => changed((m) => (m["preprocess"] = { resampling: "spline" })), /resampling "spline"/],
    [
      "graphs of fixed shapes",
      () => changed((m) => Object.assign(m.graphs[1]!, { options: { prompts_and_points: { decoder: [1, 16] } } })),
      /decoder graph of fixed shapes.*export it without profile=npu/,
    ],
    ["a setting that nobody has", () => changed((m) => (m["whole_image"] = { pred_iou: 0.9 })), /settings that cannot be: unknown setting 'pred_iou'/],
    ["a setting out of range", () => changed((m) => (m["whole_image"] = { pred_iou_thresh: 2 })), /settings that cannot be: confThres=2; expected/],
    [
      "a setting by two names",
      () => changed((m) => (m["whole_image"] = { conf_thres: 0.6, pred_iou_thresh: 0.7 })),
      /'pred_iou_thresh' sets 'confThres' a second time/,
    ],
    ["a golden answer of nonsense", () => changed((m) => (m["golden"] = { width: "x" })), /golden/],
    ["a golden mask of another size", () => changed((m) => ((m["golden"] as { mask: { counts: string } }).mask.counts = "11")), /golden mask counts "11"/],
    [
      "a changed byte",
      () => {
        const bundle = files();
        const bytes = bundle["decoder.onnx"]!;
        bytes[bytes.length >> 1]! ^= 1;
        return bundle;
      },
      /'decoder.onnx' .* was changed: its SHA-256 is not the manifest's/,
    ],
    [
      "no graph",
      () => {
        const bytes = new TextEncoder().encode("no graph at all");
        const bundle = changed((m) => {
          const encoder = m.graphs.find(({ role }) => role === "encoder")!;
          encoder.files = [{ path: "encoder.onnx", bytes: bytes.length, sha256: digest(bytes) }];
        });
        return { ...bundle, "encoder.onnx": bytes };
      },
      /'encoder.onnx' .* is not an ONNX file or is truncated/,
    ],
    [
      "weights that it does not list",
      () => {
        // A model > graph > tensor > external data entry: location = "../secret".
        const entry = [0x0a, 8, ...Buffer.from("location"), 0x12, 9, ...Buffer.from("../secret")];
        const tensor = [0x6a, entry.length, ...entry];
        const graph = [0x2a, tensor.length, ...tensor];
        const bytes = Uint8Array.from([0x3a, graph.length, ...graph]);
        expect([...externalFiles(bytes)]).toEqual(["../secret"]);
        const bundle = changed((m) => {
          const encoder = m.graphs.find(({ role }) => role === "encoder")!;
          encoder.files = [{ path: "encoder.onnx", bytes: bytes.length, sha256: digest(bytes) }];
        });
        return { ...bundle, "encoder.onnx": bytes };
      },
      /makes a library read '..\/secret', which its manifest does not list/,
    ],
  ];
  test.each(cases)("%s", async (_, make, message) => {
    const opening = Sam.open(make(), { ort });
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toMatchObject({ name: "BundleError" });
  });
});

test("a bundle may recommend settings by Meta's names", async () => {
  const own = await Sam.open(files(), { ort });
  const whole_image = { points_per_side: 4, pred_iou_thresh: 0.5, stability_score_thresh: 0.5, crop_n_points_downscale_factor: 2 };
  const sam = await Sam.open(changed((m) => (m["whole_image"] = whole_image)), { ort });
  const found = await sam.generate(picture("scene"));
  const expected = await own.generate(picture("scene"), { pointsStride: 4, confThres: 0.5, stabilityScoreThresh: 0.5 });
  expect(found.length).toBeGreaterThan(0);
  expect(found.map((mask) => mask.rle())).toEqual(expected.map((mask) => mask.rle()));
  await own.close();
  await sam.close();
});

describe("where a bundle may be", () => {
  const temporary = mkdtempSync(join(tmpdir(), "samdeploy-"));
  afterAll(() => rmSync(temporary, { recursive: true }));

  test("in a folder without links", async () => {
    const copy = join(temporary, "copy");
    cpSync(source, copy, { recursive: true });
    await (await Sam.open(await openFolder(copy), { ort })).close();
    rmSync(join(copy, "decoder.onnx"));
    await expect(Sam.open(await openFolder(copy), { ort })).rejects.toThrow(/lacks 'decoder.onnx'/);
    symlinkSync(join(source, "decoder.onnx"), join(copy, "decoder.onnx"));
    await expect(Sam.open(await openFolder(copy), { ort })).rejects.toThrow(/'decoder.onnx', which is a link/);
    await expect(openFolder(join(temporary, "nowhere"))).rejects.toThrow(/cannot be opened .*; check the path/);
  });

  test("behind a URL, with progress", async () => {
    const bundle = files();
    const server = createServer((request, response) => {
      const bytes = bundle[request.url!.replace("/a%20b/", "")];
      response.writeHead(bytes ? 200 : 404).end(bytes);
    }).listen();
    const { port } = server.address() as AddressInfo;
    try {
      const seen: [number, number][] = [];
      const sam = await Sam.open(`http://localhost:${port}/a b`, { ort, onProgress: (...bytes) => seen.push(bytes) });
      await sam.close();
      const total = Object.entries(bundle).reduce((sum, [name, bytes]) => sum + (name.endsWith(".onnx") ? bytes.length : 0), 0);
      expect(seen.at(-1)).toEqual([total, total]);
      expect(seen.map(([loaded]) => loaded)).toEqual(seen.map(([loaded]) => loaded).sort((a, b) => a - b));
      await expect(Sam.open(`http://localhost:${port}/elsewhere`, { ort })).rejects.toThrow(/answers 404; check/);
      const signal = AbortSignal.abort();
      await expect(Sam.open(`http://localhost:${port}/a b`, { ort, signal })).rejects.toThrow(/abort/i);
    } finally {
      server.close();
      server.closeAllConnections();
    }
    await expect(Sam.open(`http://localhost:${port}/a b`, { ort })).rejects.toThrow(/cannot be fetched .*; check/);
    await expect(Sam.open(5 as never, { ort })).rejects.toThrow(/type number; expected a URL/);
    await expect(Sam.open("x", {} as never)).rejects.toThrow(/no ort given/);
  });

  test("with weights beside its graph", async () => {
    const external = resolve(folder, "external");
    expect([...externalFiles(readFileSync(join(external, "encoder.onnx")))]).toEqual(["encoder.onnx.data"]);
    const [whole, parted] = [await Sam.open(files(), { ort }), await Sam.open(await openFolder(external), { ort })];
    const [expected, found] = await Promise.all([whole, parted].map((sam) => sam.predict(picture("scene"), { points: [[90, 60]] })));
    expect(found![0]!.rle()).toEqual(expected![0]!.rle());
    await whole.close();
    await parted.close();
  });
});
