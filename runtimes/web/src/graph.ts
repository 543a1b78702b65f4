import type * as OrtTypes from "onnxruntime-common";
import { product } from "./arrays.js";
import { BundleError, DeviceError, reason, SamDeployError } from "./errors.js";
import type { GraphRecord, TensorRecord } from "./manifest.js";
import { Turns } from "./turns.js";

/** The module that computes: `onnxruntime-web`, `onnxruntime-node` or `onnxruntime-react-native`. */
export type Ort = Pick<typeof OrtTypes, "InferenceSession" | "Tensor" | "env">;

/** Float32 values and their shape. */
export interface Floats {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

type Session = OrtTypes.InferenceSession;

/** A graph: named tensors in, named tensors out. What it answers is compared with the manifest. */
export class Graph {
  private readonly names: readonly string[];
  private session: Promise<Session> | undefined;

  private constructor(
    private readonly ort: Ort,
    /** Holds the bytes of the graph's files, and is let go with them once the session is open. */
    private create: (() => Promise<Session>) | undefined,
    private readonly record: GraphRecord,
    readonly device: string,
  ) {
    this.names = record.inputs.map((input) => input.name);
  }

  static async open(...given: Parameters<typeof Graph.later>): Promise<Graph> {
    const graph = Graph.later(...given);
    await graph.opened();
    return graph;
  }

  /** A graph that is opened when it runs for the first time; its files wait in memory until then. */
  static later(
    ort: Ort,
    record: GraphRecord,
    files: readonly { path: string; bytes: Uint8Array }[],
    device: string,
    options: OrtTypes.InferenceSession.SessionOptions,
  ): Graph {
    const create = async (): Promise<Session> => {
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
      return session;
    };
    return new Graph(ort, create, record, device);
  }

  /** Run with those of `feeds` that the graph takes. */
  async run(feeds: Readonly<Record<string, Floats>>): Promise<Record<string, Floats>> {
    const session = await this.opened();
    const inputs: Record<string, OrtTypes.Tensor> = {};
    for (const name of this.names) {
      const { data, dims } = feeds[name]!;
      inputs[name] = new this.ort.Tensor("float32", data, dims);
    }
    let answer: OrtTypes.InferenceSession.ReturnType;
    try {
      // One at a time: the web's backends refuse a second call while the first one runs.
      answer = await Turns.of(this.ort).take(() => session.run(inputs));
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
    const session = await this.session?.catch(() => undefined);
    if (session) await Turns.of(this.ort).take(() => session.release());
  }

  private async opened(): Promise<Session> {
    try {
      const session = await (this.session ??= this.create!());
      this.create = undefined;
      return session;
    } catch (error) {
      this.session = undefined;
      if (error instanceof SamDeployError) throw error;
      throw new DeviceError(`${this.device} cannot open the ${this.record.role} graph (${reason(error)}); choose another device.`);
    }
  }
}

/** Whether a shape is as the manifest tells it. */
export function fits(dims: readonly number[], told: TensorRecord): boolean {
  return dims.length === told.shape.length && told.shape.every((side, i) => typeof side === "string" || side === dims[i]);
}
