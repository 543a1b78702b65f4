import * as ort from "onnxruntime-node";
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InputError, Sam } from "../src/index.js";
import { openFolder } from "../src/node.js";
import { Runs } from "../src/rle.js";
import { chosenSettings } from "../src/settings.js";
import { ask, everything } from "./ask.js";
import { cases, folder, picture } from "./cases.js";
import { expectSame, expectSameList } from "./compare.js";

async function open(bundle: string): Promise<Sam> {
  return Sam.open(await openFolder(resolve(folder, bundle)), { ort, threads: 2 });
}

describe("the shipped model in Node", () => {
  let sam: Sam;
  beforeAll(async () => void (sam = await open("sam_tiny")));
  afterAll(() => sam.close());

  test("says what it is", () => {
    expect(sam.device).toBe("cpu");
    expect(sam.info).toMatchObject({ family: "sam", imageSize: 256, split: true });
  });

  cases.prompting.forEach((asked, i) => {
    test(`prompts on '${asked.picture}', ${i}`, async () => {
      expectSame(await ask(sam, picture(asked.picture), asked, Runs), asked.masks);
    });
  });

  cases.everything.forEach((wanted) => {
    test(`everything in '${wanted.picture}', ${JSON.stringify(wanted.settings)}`, async () => {
      expect(wanted.masks.length).toBeGreaterThan(0);
      expectSameList(await everything(sam, picture(wanted.picture), wanted), wanted.masks);
    });
  });

  test("an answer does not depend on the prompts that it came with", async () => {
    const embedding = await sam.encode(picture("scene"));
    const prompts = [{ points: [[90, 60]] }, { box: [20, 30, 200, 150] }] as const;
    const together = await sam.predict(embedding, prompts);
    for (const [i, prompt] of prompts.entries()) {
      const [alone] = await sam.predict(embedding, prompt);
      expect(alone!.score).toBeCloseTo(together[i]!.score, 4);
      expect(alone!.rle()).toEqual(together[i]!.rle());
    }
    const columns = await sam.predict(embedding, { points: [[[90, 60]], [[30, 40]]], boxes: [[20, 30, 200, 150], [0, 0, 60, 70]] });
    expect(columns.map(({ prompt }) => prompt)).toEqual([0, 1]);
    embedding.dispose();
    await expect(sam.predict(embedding, prompts)).rejects.toThrow(/disposed of; encode the image again/);
  });

  test.each([
    [{ points: [[-1, 5]] }, /point \(-1, 5\) is outside the image; expected 0 <= x <= 240/],
    [{ points: [[NaN, 5]] }, /points .* expected a list of \[x, y\]/],
    [{ points: [[1, 5]], labels: [2] }, /labels \[2\]; expected 1 \(foreground\) or 0/],
    [{ points: [[1, 5]], labels: [] }, /0 labels for 1 points/],
    [{ box: [50, 50, 40, 60] }, /has no area in the image/],
    [{ box: [50, 50, 400, 60] }, /box corner \(400, 60\) is outside/],
    [{ mask: new Float32Array(5) }, /a mask of 5 floats; expected low-res logits, 64 x 64/],
    [{ mask: new Uint8Array(5) }, /a mask of 5 bytes; expected a bitmap of the image's 180 x 240/],
    [{}, /a prompt without points, box and mask/],
  ] as [object, RegExp][])("a prompt that cannot be asked is refused before the image is encoded: %j", async (prompt, message) => {
    await expect(sam.predict(picture("scene"), prompt)).rejects.toThrow(message);
  });

  test.each([
    [{ confThres: 2 }, /confThres=2; expected a number from 0 to 1/],
    [{ pointStride: 2 }, /unknown setting 'pointStride'/],
    [{ pointsStride: 1000, cropNLayers: 6 }, /asks at .* points/],
    [{ mode: "adaptive", exact: true }, /drop exact/],
  ] as [object, RegExp][])("settings that cannot be are refused: %j", async (settings, message) => {
    await expect(sam.generate(picture("scene"), settings)).rejects.toThrow(message);
  });

  test("a setting that is left undefined is the model's own", () => {
    const left = { confThres: undefined, pointsStride: undefined } as object;
    expect(chosenSettings(left, { confThres: 0.6 })).toEqual(chosenSettings({}, { confThres: 0.6 }));
    expect(chosenSettings(left, { confThres: 0.6 })).toMatchObject({ confThres: 0.6, pointsStride: 32 });
  });

  test("an embedding of another model is refused, though its image has the same size", async () => {
    const others = await Promise.all(["small_sam", "small_hq"].map(open));
    const [small, hq] = await Promise.all(others.map((other) => other.encode(picture("scene"))));
    const click = { points: [[90, 60]] } as const;
    for (const [model, embedding] of [[sam, small], [others[0], hq], [others[1], small]] as const) {
      const asked = model!.predict(embedding!, click);
      await expect(asked).rejects.toThrow(/embedding is of another model; encode the image with/);
      await expect(asked).rejects.toBeInstanceOf(InputError);
      await expect(model!.generate(embedding!)).rejects.toBeInstanceOf(InputError);
    }
    expect(await others[1]!.predict(hq!, click)).toHaveLength(1);
    for (const other of others) await other.close();
  });

  test("what is no image is refused", async () => {
    await expect(sam.encode({ data: new Uint8Array(10), width: 2, height: 2 })).rejects.toThrow(/2 x 2 pixels with 10 bytes/);
    await expect(sam.encode(null as never)).rejects.toThrow(/no image with pixels/);
  });

  test("the whole image can be cancelled", async () => {
    const controller = new AbortController();
    let last = 0;
    const onProgress = (done: number): void => {
      last = done;
      if (done >= 32) controller.abort();
    };
    await expect(sam.generate(picture("scene"), {}, { signal: controller.signal, onProgress })).rejects.toThrow(/abort/i);
    expect(last).toBe(32);
  });
});

for (const { bundle, asked, everything: wanted } of cases.families) {
  test(`${bundle} in Node`, async () => {
    const sam = await open(bundle);
    expectSame(await ask(sam, picture(asked.picture), asked, Runs), asked.masks);
    expect(wanted.masks.length).toBeGreaterThan(0);
    expectSameList(await everything(sam, picture(wanted.picture), wanted), wanted.masks);
    await sam.close();
    await expect(sam.encode(picture("odd"))).rejects.toThrow(/was closed/);
  });
}
