import type * as OrtTypes from "onnxruntime-common";
import { product } from "./arrays.js";
import { BundleError, DeviceError, reason } from "./errors.js";
import type { GraphRecord, TensorRecord } from "./manifest.js";
import { Turns } from "./turns.js";

/** The module that computes: `onnxruntime-web`, `onnxruntime-node` or `onnxruntime-react-native`. */
export type Ort = Pick<typeof OrtTypes, "InferenceSession" | "Tensor" | "env">;

/** Float32 values and their shape. */
export interface Floats {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

/** An opened graph: named tensors in, named tensors out. What it answers is compared with the manifest. */
export class Graph {
  private readonly names: readonly string[];

  private constructor(
    private readonly ort: Ort,
    private readonly session: OrtTypes.InferenceSession,
    private readonly record: GraphRecord,
    readonly device: string,
  ) {
    this.names = record.inputs.map((input) => input.name);
  }

  static async open(
    ort: Ort,
    record: GraphRecord,
    files: readonly { path: string; bytes: Uint8Array }[],
    device: string,
    options: OrtTypes.InferenceSession.SessionOptions,
  ): Promise<Graph> {
    const [main, ...beside] = files;
    const folder = main!.path.slice(0, main!.path.lastIndexOf("/") + 1);
    const externalData = beside.map(({ path, bytes }) => ({ path: path.slice(folder.length), data: bytes }));
    const session = await Turns.of(ort).take(() =>
      ort.InferenceSession.create(main!.bytes, { ...options, ...(externalData.length ? { externalData } : {}) }),
    );
    for (const [told, found] of [
      [record.inputs, session.inputNames],
      [record.outputs, session.outputNames],
    ] as const) {
      if (told.map((tensor) => tensor.name).sort().join() !== [...found].sort().join()) {
        await session.release();
        throw new BundleError(`the ${record.role} graph has tensors ${found.join(", ")}, which its manifest does not tell; export it again.`);
      }
    }
    return new Graph(ort, session, record, device);
  }

  /** Run with those of `feeds` that the graph takes. */
  async run(feeds: Readonly<Record<string, Floats>>): Promise<Record<string, Floats>> {
    const inputs: Record<string, OrtTypes.Tensor> = {};
    for (const name of this.names) {
      const { data, dims } = feeds[name]!;
      inputs[name] = new this.ort.Tensor("float32", data, dims);
    }
    let answer: OrtTypes.InferenceSession.ReturnType;
    try {
      // One at a time: the web's backends refuse a second call while the first one runs.
      answer = await Turns.of(this.ort).take(() => this.session.run(inputs));
    } catch (error) {
      throw new DeviceError(`${this.device} failed while it ran the ${this.record.role} graph (${reason(error)}); choose another device.`);
    }
    const out: Record<string, Floats> = {};
    for (const told of this.record.outputs) {
      const tensor = answer[told.name];
      const data = tensor?.data;
      if (!tensor || !(data instanceof Float32Array) || !fits(tensor.dims, told) || product(tensor.dims) !== data.length) {
        throw new DeviceError(
          `the ${this.record.role} graph gave a wrong answer on ${this.device}: '${told.name}' ` +
            `${tensor ? JSON.stringify(tensor.dims) : "is missing"}; choose another device or export it again.`,
        );
      }
      out[told.name] = { data, dims: tensor.dims };
    }
    return out;
  }

  /** Shape of an input or output, as the manifest tells it. */
  shape(name: string): readonly (number | string)[] {
    const { inputs, outputs } = this.record;
    return [...inputs, ...outputs].find((tensor) => tensor.name === name)!.shape;
  }

  async close(): Promise<void> {
    await Turns.of(this.ort).take(() => this.session.release());
  }
}

function fits(dims: readonly number[], told: TensorRecord): boolean {
  return dims.length === told.shape.length && told.shape.every((side, i) => typeof side === "string" || side === dims[i]);
}
