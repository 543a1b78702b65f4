import { expect, test, vi } from "vitest";
import { openOnServer, ServerSegmenter } from "../src/server-segmenter";

const mask = { rle: { size: [1, 1], counts: "01" }, score: 0.5 };

/** Answers of a server, by route and in order; what it was asked is kept. */
function server(answers: [string, number, unknown][]): { route: string; body: unknown }[] {
  const asked: { route: string; body: unknown }[] = [];
  vi.stubGlobal("fetch", async (address: string, request: RequestInit = {}) => {
    const route = address.replace("http://x/v1/", "");
    asked.push({ route, body: typeof request.body === "string" ? JSON.parse(request.body) : request.body });
    const [expected, status, answer] = answers.shift()!;
    expect(route).toBe(expected);
    return new Response(JSON.stringify(answer), { status });
  });
  return asked;
}

vi.stubGlobal(
  "OffscreenCanvas",
  class {
    getContext = (): object => ({ putImageData: () => undefined });
    convertToBlob = async (): Promise<Blob> => new Blob(["png"]);
  },
);
const picture = { width: 1, height: 1 } as ImageData;

test("a click asks for three masks and takes the best", async () => {
  const asked = server([
    ["models", 200, { models: [{ name: "m", runtime: "onnxruntime", device: "cpu" }] }],
    ["images", 200, { image_id: "a" }],
    ["predict", 200, { masks: [mask, { ...mask, score: 0.9 }, mask] }],
  ]);
  const segmenter = await openOnServer("http://x/v1/");
  expect(segmenter.device).toContain("onnxruntime");
  await segmenter.encode(picture);
  const answer = await segmenter.predict({ points: [[1, 2]], labels: [1] });
  expect(answer.score).toBe(0.9);
  expect(asked[2]!.body).toEqual({
    image_id: "a",
    prompts: [{ points: [[1, 2]], labels: [1] }],
    multimask: true,
  });
});

test("a picture that the server keeps no longer is sent again, once", async () => {
  server([
    ["images", 200, { image_id: "a" }],
    ["predict", 404, { error: "image 'a' is not here." }],
    ["images", 200, { image_id: "b" }],
    ["predict", 200, { masks: [mask] }],
    ["generate", 404, { error: "no." }],
    ["images", 200, { image_id: "b" }],
    ["generate", 404, { error: "no model." }],
  ]);
  const segmenter = new ServerSegmenter("http://x/v1/", "x");
  await segmenter.encode(picture);
  await segmenter.predict({ points: [], labels: [], box: [0, 0, 1, 1] });
  const watch = { signal: new AbortController().signal, onProgress: () => undefined };
  await expect(segmenter.generate(watch)).rejects.toThrow("no model.");
});

test("a server that is not there, or has no model, is one sentence", async () => {
  server([["models", 200, { models: [] }]]);
  await expect(openOnServer("http://x/v1/")).rejects.toThrow("has no model");
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed")));
  await expect(openOnServer("http://x/v1/")).rejects.toThrow("does not answer");
});
