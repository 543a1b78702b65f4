import { BundleError, InputError, reason } from "./errors.js";
import { families, roles, tensorsOf, type Family, type Role } from "./families.js";
import { chosenSteps, type Steps } from "./preprocess.js";
import { Runs, type CocoRle } from "./rle.js";
import { recommendedSettings, type WholeImageSettings } from "./settings.js";

export const manifestName = "bundle.json";
export const longestManifest = 4 << 20;
const schemaVersion = 1;
const mostImageSize = 8192;
const mostBytes = 2 ** 36;

export interface FileRecord {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface TensorRecord {
  readonly name: string;
  /** A dimension that is free is its name. */
  readonly shape: readonly (number | string)[];
  readonly dtype: string;
}

export interface GraphRecord {
  readonly role: Role;
  /** The graph first, then its side files. */
  readonly files: readonly FileRecord[];
  readonly inputs: readonly TensorRecord[];
  readonly outputs: readonly TensorRecord[];
}

/** One click on a picture that a formula makes, and what the reference answers; see golden.ts. */
export interface Golden {
  readonly width: number;
  readonly height: number;
  readonly point: readonly [number, number];
  readonly iou_predictions: readonly number[];
  readonly mask: CocoRle;
}

/** What this package reads of a `bundle.json`. */
export interface Manifest {
  readonly architecture: string;
  readonly imageSize: number;
  readonly channels: number;
  readonly precision: string;
  readonly familyName: string;
  readonly family: Family;
  readonly steps: Steps;
  readonly graphs: ReadonlyMap<Role, GraphRecord>;
  /** Whole-image settings that the model recommends. */
  readonly wholeImage: Partial<WholeImageSettings>;
  readonly golden: Golden | undefined;
  readonly licence: string;
}

/** Read and check a manifest; `name` is the bundle's, for messages. */
export function readManifest(text: string, name: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new BundleError(`'${name}' has a ${manifestName} that is no JSON (${reason(error)}); export it again.`);
  }
  return new Checked(name).manifest(json);
}

/** Walks through a manifest; whatever does not fit is refused with the bundle's name. */
class Checked {
  constructor(private readonly name: string) {}

  manifest(json: unknown): Manifest {
    const root = this.record(json, manifestName);
    if (root["schema_version"] !== schemaVersion) {
      throw new BundleError(
        `'${this.name}' has schema version ${String(root["schema_version"])}, this samdeploy reads ${schemaVersion}; ` +
          "upgrade the package or export the bundle again.",
      );
    }
    if (root["format"] !== "onnx") {
      throw new BundleError(
        `'${this.name}' is a bundle of format ${String(root["format"])}; expected onnx, export it with format=onnx.`,
      );
    }
    const familyName = root["family"] === undefined ? "sam" : this.text(root["family"], "family");
    const family = Object.hasOwn(families, familyName) ? families[familyName] : undefined;
    if (!family) {
      const known = Object.keys(families).join(", ");
      throw new BundleError(`'${this.name}' holds a model of family '${familyName}'; expected one of ${known}.`);
    }
    const imageSize = this.whole(root["image_size"], "image_size", 16, mostImageSize);
    const channels = this.whole(root["embedding_channels"], "embedding_channels", 1, 1 << 16);
    const preprocess = root["preprocess"] ?? undefined;
    const source = this.record(root["source"] ?? {}, "source");
    return {
      architecture: this.text(root["architecture"], "architecture"),
      imageSize,
      channels,
      precision: this.text(root["precision"], "precision"),
      familyName,
      family,
      steps: preprocess === undefined ? family.steps : chosenSteps(this.record(preprocess, "preprocess"), this.name),
      graphs: this.graphs(root["graphs"], family, imageSize, channels),
      wholeImage: this.wholeImage(root["whole_image"] ?? {}),
      golden: root["golden"] == null ? undefined : this.golden(root["golden"]),
      licence: typeof source["licence"] === "string" ? source["licence"] : "",
    };
  }

  private graphs(json: unknown, family: Family, imageSize: number, channels: number): Map<Role, GraphRecord> {
    const graphs = new Map<Role, GraphRecord>();
    for (const each of this.list(json, "graphs", 16)) {
      const graph = this.record(each, "graph");
      const role = roles.find((known) => known === graph["role"]);
      if (!role || graphs.has(role)) this.refuse("graph", graph["role"], `one of ${roles.join(", ")}, each once`);
      const files = this.list(graph["files"], "files", 256).map((file) => this.file(file));
      const inputs = this.tensors(graph["inputs"]);
      const outputs = this.tensors(graph["outputs"]);
      if (this.record(graph["options"] ?? {}, "options")["prompts_and_points"] !== undefined) {
        throw new BundleError(
          `'${this.name}' has a ${role} graph of fixed shapes, for so many prompts and points alone, which this package ` +
            "does not run; export it without profile=npu.",
        );
      }
      const expected = tensorsOf(family, role!);
      this.sameNames(role!, inputs, expected.inputs);
      this.sameNames(role!, outputs, expected.outputs);
      graphs.set(role!, { role: role!, files, inputs, outputs });
    }
    const wanted = graphs.size > 2 ? roles : roles.slice(0, 2);
    const missing = wanted.find((role) => !graphs.has(role));
    if (missing) throw new BundleError(`'${this.name}' has no ${missing} graph; export it again.`);
    const [side, cells] = [imageSize, imageSize / 16];
    this.shape(graphs, "encoder", "image", [1, 3, side, side]);
    this.shape(graphs, "decoder", "image_embeddings", [1, channels, cells, cells]);
    this.shape(graphs, "decoder", "mask_input", ["prompts", 1, 4 * cells, 4 * cells]);
    return graphs;
  }

  private shape(graphs: Map<Role, GraphRecord>, role: Role, name: string, shape: (number | string)[]): void {
    const found = graphs.get(role)?.inputs.find((tensor) => tensor.name === name)?.shape;
    if (JSON.stringify(found) !== JSON.stringify(shape)) this.refuse(`${role} '${name}'`, found, JSON.stringify(shape));
  }

  private sameNames(role: Role, found: readonly TensorRecord[], expected: readonly string[]): void {
    const names = found.map((tensor) => tensor.name);
    if ([...names].sort().join() !== [...expected].sort().join()) this.refuse(`${role} tensors`, names, expected.join(", "));
  }

  private tensors(json: unknown): TensorRecord[] {
    return this.list(json, "tensors", 16).map((each) => {
      const tensor = this.record(each, "tensor");
      const name = this.text(tensor["name"], "name");
      const shape = this.list(tensor["shape"], `shape of '${name}'`, 8, 0).map((side) =>
        typeof side === "string" ? side : this.whole(side, `shape of '${name}'`, 1, 2 ** 31 - 1),
      );
      if (tensor["dtype"] !== "float32") this.refuse(`dtype of '${name}'`, tensor["dtype"], "float32");
      return { name, shape, dtype: "float32" };
    });
  }

  private file(json: unknown): FileRecord {
    const file = this.record(json, "file");
    const path = this.text(file["path"], "path");
    const parts = path.split("/");
    if (/[\x00-\x1f:\\]/.test(path) || parts.some((part) => ["", ".", ".."].includes(part))) {
      throw new BundleError(`'${this.name}' names '${path}', which is outside its folder; do not use it.`);
    }
    const digest = this.text(file["sha256"], "sha256");
    if (!/^[0-9a-f]{64}$/.test(digest)) this.refuse(`sha256 of '${path}'`, digest, "64 hex digits");
    return { path, bytes: this.whole(file["bytes"], `bytes of '${path}'`, 0, mostBytes), sha256: digest };
  }

  private wholeImage(json: unknown): Partial<WholeImageSettings> {
    const told = this.record(json, "whole_image");
    try {
      return recommendedSettings(told);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw new BundleError(`'${this.name}' recommends settings that cannot be: ${error.message}`);
    }
  }

  private golden(json: unknown): Golden {
    const golden = this.record(json, "golden");
    const numbers = (name: string, most: number, least = most): number[] => {
      const values = this.list(golden[name], `golden ${name}`, most, least);
      if (!values.every((value) => Number.isFinite(value))) this.refuse(`golden ${name}`, values, "numbers");
      return values as number[];
    };
    const mask = this.record(golden["mask"], "golden mask");
    const width = this.whole(golden["width"], "golden width", 1, mostImageSize);
    const height = this.whole(golden["height"], "golden height", 1, mostImageSize);
    if (JSON.stringify(mask["size"]) !== JSON.stringify([height, width])) {
      this.refuse("golden mask size", mask["size"], `[${height}, ${width}]`);
    }
    const rle: CocoRle = { size: [height, width], counts: this.text(mask["counts"], "golden mask counts", 1 << 18) };
    try {
      Runs.fromCoco(rle);
    } catch {
      this.refuse("golden mask counts", rle.counts, "COCO run lengths of its size");
    }
    return {
      width,
      height,
      point: numbers("point", 2) as [number, number],
      iou_predictions: numbers("iou_predictions", 64, 1),
      mask: rle,
    };
  }

  private record(value: unknown, what: string): Record<string, unknown> {
    if (typeof value !== "object" || value === null || Array.isArray(value)) this.refuse(what, value, "an object");
    return value as Record<string, unknown>;
  }

  private list(value: unknown, what: string, most: number, least = 1): unknown[] {
    if (!Array.isArray(value) || value.length < least || value.length > most) {
      this.refuse(what, value, `a list of ${least} to ${most}`);
    }
    return value as unknown[];
  }

  private text(value: unknown, what: string, most = 1024): string {
    if (typeof value !== "string" || !value.length || value.length > most) this.refuse(what, value, "a text");
    return value as string;
  }

  private whole(value: unknown, what: string, least: number, most: number): number {
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
      this.refuse(what, value, `a whole number from ${least} to ${most}`);
    }
    return value as number;
  }

  private refuse(what: string, value: unknown, expected: string): never {
    const shown = (JSON.stringify(value) ?? String(value)).slice(0, 80);
    throw new BundleError(`'${this.name}' tells ${what} ${shown}; expected ${expected}, export it again.`);
  }
}
