import { Asking } from "./asking.js";
import { nms } from "./boxes.js";
import { logitBytes, Selector, type Candidate } from "./candidates.js";
import { cleaned } from "./cleaning.js";
import type { LocalEmbedding } from "./embedding.js";
import type { Engine } from "./engine.js";
import { lowResSize, toInput, type Point, type Size } from "./geometry.js";
import { makeCrops, type Crop } from "./grids.js";
import { cropped } from "./image.js";
import { Mask, maskThreshold } from "./mask.js";
import { Runs } from "./rle.js";
import type { WholeImageSettings } from "./settings.js";
import { breathe } from "./turns.js";

export interface GenerateOptions {
  signal?: AbortSignal;
  /** Told how many of the grid points were asked at. */
  onProgress?: (done: number, total: number) => void;
}

type Made = Candidate & { mask: Runs };

/** Candidates wait as logits for the filter between masks; beyond this, further ones become run lengths at once. */
const mostLogitBytes = 128 << 20;
/** `adaptive`: steps of the walks over the grid, and the largest share of a crop that a mask may cover points with. */
const strides = [4, 2, 1];
const coveringShare = 0.2;

/**
 * All confident and stable masks of an image: a grid of point prompts over it and its crops, filtered, as Segment
 * Anything's automatic mask generation (arXiv:2304.02643, appendix B). Best predicted IoU first when there are no
 * crops and no small regions to clean.
 */
export async function generate(
  engine: Engine,
  embedding: LocalEmbedding,
  settings: WholeImageSettings,
  { signal, onProgress }: GenerateOptions = {},
): Promise<Mask[]> {
  const { image } = embedding;
  const crops = makeCrops(image.size, settings);
  const total = crops.reduce((sum, crop) => sum + crop.points.length, 0);
  let done = 0;
  let found: Made[] = [];
  for (const crop of crops) {
    const whole = crop === crops[0];
    // One encoder call per crop; its candidates are filtered before the next crop starts.
    const own = whole ? embedding : await engine.encode(cropped(image, crop.box));
    const walk = new Walk(engine, own, crop, image.size, settings);
    for await (done of walk.run(done)) {
      signal?.throwIfAborted();
      onProgress?.(done, total);
      await breathe();
      signal?.throwIfAborted();
    }
    found.push(...walk.best());
    if (!whole) own.dispose();
  }
  if (crops.length > 1) {
    // A smaller crop sees more detail: its masks win.
    const preference = found.map(({ crop: [x1, y1, x2, y2] }) => Math.fround(1 / ((x2 - x1) * (y2 - y1))));
    const kept = nms(found.map(({ box }) => box), preference, settings.cropNmsThresh);
    found = kept.map((i) => found[i]!);
  }
  if (settings.minMaskRegionArea > 0) {
    found = cleaned(found, settings.minMaskRegionArea, Math.max(settings.nmsThresh, settings.cropNmsThresh));
  }
  return found.map(
    ({ mask, score, stability, point, prompt, crop }) =>
      new Mask({ score, stability, point, prompt, crop, size: mask.size, counts: mask.counts }),
  );
}

/** The grid points of one crop, batch by batch, to its candidates. */
class Walk {
  private readonly selector: Selector;
  private readonly asking: Asking;
  private readonly found: Candidate[] = [];
  private readonly cells: Size;
  private readonly covered: Uint8Array;
  private waitingBytes = 0;

  constructor(
    private readonly engine: Engine,
    private readonly embedding: LocalEmbedding,
    private readonly crop: Crop,
    imageSize: Size,
    private readonly settings: WholeImageSettings,
  ) {
    this.selector = new Selector(crop, embedding.transform, imageSize, settings);
    this.asking = new Asking(engine.decoding, embedding, settings, engine.side, engine.family.stableSingleMask);
    this.cells = lowResSize(embedding.transform);
    this.covered = new Uint8Array(this.cells[0] * this.cells[1]);
  }

  /** Ask at all points, numbered from `before` on; yields how many are done. */
  async *run(before: number): AsyncGenerator<number> {
    const { points } = this.crop;
    const perCall = Math.min(this.settings.pointsBatchSize, this.engine.decoding.promptsPerCall(2));
    let done = before;
    for (const level of this.levels()) {
      const wanted = level.filter((i) => !this.isCovered(points[i]!));
      done += level.length - wanted.length;
      if (!wanted.length) yield done;
      for (let start = 0; start < wanted.length; start += perCall) {
        const indices = wanted.slice(start, start + perCall);
        const confident = await this.asking.ask(indices.map((i) => points[i]!));
        this.judge(
          this.selector.select(
            confident.map((each) => ({ ...each, point: points[indices[each.owner]!]!, prompt: indices[each.owner]! + before })),
          ),
        );
        done += indices.length;
        yield done;
      }
    }
  }

  best(): Made[] {
    return this.selector.best(this.found);
  }

  private judge(selected: readonly Candidate[]): void {
    if (this.settings.mode === "adaptive") selected.forEach((candidate) => this.cover(candidate));
    const atOnce = this.waitingBytes > mostLogitBytes;
    for (const candidate of selected) {
      this.found.push(atOnce ? this.selector.encode(candidate) : candidate);
      if (!atOnce) this.waitingBytes += logitBytes(candidate);
    }
  }

  /** Indices of the points: all at once, or coarse to fine. */
  private levels(): number[][] {
    const every = this.crop.points.map((_, i) => i);
    if (this.settings.mode === "grid") return [every];
    const side = Math.round(Math.sqrt(every.length));
    const on = (i: number, stride: number): boolean => Math.floor(i / side) % stride === 0 && (i % side) % stride === 0;
    const first = every.map((i) => strides.findIndex((stride) => on(i, stride)));
    return strides.map((_, level) => every.filter((i) => first[i] === level));
  }

  private isCovered(point: Point): boolean {
    const [x, y] = toInput(this.embedding.transform, point).map((side) => Math.trunc(side / 4)) as [number, number];
    const [height, width] = this.cells;
    return this.covered[Math.min(y, height - 1) * width + Math.min(x, width - 1)] === 1;
  }

  /** Points inside a mask that is not too large need not be asked at any more. */
  private cover({ mask }: Candidate): void {
    if (mask instanceof Runs) return;
    const [height, width] = this.cells;
    const inside = mask.logits.reduce((sum, logit) => sum + (logit > maskThreshold ? 1 : 0), 0);
    if (inside > coveringShare * this.covered.length) return;
    for (let y = 0; y < mask.size[0] && y + mask.cell[0] < height; y++) {
      for (let x = 0; x < mask.size[1] && x + mask.cell[1] < width; x++) {
        if (mask.logits[y * mask.size[1] + x]! > maskThreshold) {
          this.covered[(y + mask.cell[0]) * width + x + mask.cell[1]] = 1;
        }
      }
    }
  }
}
