import type { Mask, Prompt, RgbaImage, Runs, Segmenter } from "./types.js";
import type { Answered, Asked, Everything } from "./cases.js";

// Both run in Node and, from their source text, in a page: they use nothing but their arguments.

/** What a model answers to the prompts of a case. */
export async function ask(sam: Segmenter, image: RgbaImage, { prompts, multimask }: Asked, runs: typeof Runs): Promise<Answered[]> {
  const embedding = await sam.encode(image);
  const first = { points: prompts[0]!.points ?? [] };
  const earlier = prompts.some(({ again }) => again) ? (await sam.predict(embedding, first))[0]! : undefined;
  const real = prompts.map(({ bitmap, again, ...rest }): Prompt => {
    if (again) return { ...rest, mask: earlier! };
    return bitmap ? { ...rest, mask: runs.fromCoco(bitmap).decode() } : rest;
  });
  const masks = await sam.predict(embedding, real, { multimask });
  embedding.dispose();
  return masks.map((mask: Mask) => ({ score: mask.score, rle: mask.rle(), prompt: mask.prompt, stability: null }));
}

/** All masks that a model finds. */
export async function everything(sam: Segmenter, image: RgbaImage, { settings }: Everything): Promise<Answered[]> {
  const camel = (name: string): string => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  const own = Object.fromEntries(Object.entries(settings).map(([name, value]) => [camel(name), value]));
  const masks = await sam.generate(image, own);
  return masks.map((mask) => ({ score: mask.score, rle: mask.rle(), prompt: mask.prompt, stability: mask.stability ?? null }));
}
