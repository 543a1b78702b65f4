// node layout_in_transformersjs.mjs NODE_MODULES FOLDER FAMILY WORK
// Answers WORK/prompts.json about WORK/image.png with transformers.js; see layout_in_tool.py.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, folder, family, work] = process.argv.slice(2).map((word, i) =>
  i === 2 ? word : path.resolve(word),
);
const file = path.join(modules, "@huggingface/transformers/dist/transformers.node.mjs");
const { AutoProcessor, RawImage, Sam2Model, SamModel, env } = await import(pathToFileURL(file).href);

env.allowRemoteModels = false;
env.localModelPath = path.dirname(folder);
const name = path.basename(folder);
const kind = family === "sam" ? SamModel : Sam2Model;
const model = await kind.from_pretrained(name, { dtype: "fp32", device: "cpu" });
const processor = await AutoProcessor.from_pretrained(name);
const image = await RawImage.read(path.join(work, "image.png"));

const found = [];
for (const prompt of JSON.parse(await readFile(path.join(work, "prompts.json"), "utf8"))) {
  const inputs = await processor(image, prompt);
  const { pred_masks } = await model(inputs);
  const [masks] = await processor.post_process_masks(
    pred_masks,
    inputs.original_sizes,
    inputs.reshaped_input_sizes,
  );
  found.push(Buffer.from(masks.data));
}
await writeFile(path.join(work, "masks.bin"), Buffer.concat(found));
