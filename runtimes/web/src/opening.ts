import type * as OrtTypes from "onnxruntime-common";
import { Bundle, type CheckedFile, type FetchOptions } from "./bundle.js";
import { Engine } from "./engine.js";
import { DeviceError, InputError } from "./errors.js";
import type { Role } from "./families.js";
import { prove } from "./golden.js";
import { Graph, type Ort } from "./graph.js";
import type { GraphRecord } from "./manifest.js";
import type { Source } from "./source.js";
import { Turns } from "./turns.js";

/** What computes: an execution provider of ONNX Runtime, for all graphs, or one for the encoder and one for the others. */
export type Device = string | { readonly encoder: string; readonly decoder: string };

export interface OpenOptions extends FetchOptions {
  /** `onnxruntime-web`, `onnxruntime-node` or `onnxruntime-react-native`. */
  ort: Ort;
  /** The processor unless told: `wasm` in a browser, `cpu` elsewhere. */
  device?: Device;
  /** Let the processor compute where the device does not work or gives wrong answers; `notice` says so then. */
  allowFallback?: boolean;
  /** Take a device other than the processor also where the bundle holds no answer to prove it by. */
  unproved?: boolean;
  /** Threads of the processor; with `wasm` a page needs cross-origin isolation for more than one. */
  threads?: number;
}

/** An engine, what computes for it, and what had to be said about that. */
export interface Opened {
  readonly engine: Engine;
  readonly device: string;
  /** Whether the device has given the bundle's own answer. */
  readonly proved: boolean;
  readonly notice: string | undefined;
}

type Devices = { readonly encoder: string; readonly decoder: string };

/**
 * As in Python: planned buffers cost memory and gain no speed; threads that wait for a graph's next run would spin on
 * the cores that another one needs; warnings about folding are of no use to a user.
 */
const common: OrtTypes.InferenceSession.SessionOptions = {
  enableMemPattern: false,
  extra: { session: { force_spinning_stop: "1" } },
  logSeverityLevel: 3,
};

/** They are compared with Python's by tests; any other device is proved when it is opened. */
const processors = ["wasm", "cpu"];

export async function openEngine(source: Source, options: OpenOptions): Promise<Opened> {
  if (!options?.ort?.InferenceSession) {
    throw new InputError("no ort given; pass the module onnxruntime-web, onnxruntime-node or onnxruntime-react-native.");
  }
  const processor = processorOf(options.ort);
  const devices = devicesOf(options.device ?? processor);
  setThreads(options);
  if (devices.encoder === "wasm") loadWasm(options.ort);
  const bundle = await Bundle.open(source, options);
  const files = new Files(bundle, options.allowFallback === true);
  try {
    return await openOn(devices, bundle, files, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    const elsewhere = !processors.includes(devices.encoder) || !processors.includes(devices.decoder);
    if (!(error instanceof DeviceError && elsewhere && options.allowFallback)) throw error;
    const opened = await openOn(devicesOf(processor), bundle, files, options);
    return { ...opened, notice: `${processor} computes, because ${error.message}` };
  }
}

/** Files of graphs, checked; kept only where another device may have to be tried with them. */
class Files {
  private readonly known = new Map<Role, CheckedFile[]>();

  constructor(
    private readonly bundle: Bundle,
    private readonly kept: boolean,
  ) {}

  async of(record: GraphRecord): Promise<CheckedFile[]> {
    const files = this.known.get(record.role) ?? (await this.bundle.files(record));
    if (this.kept) this.known.set(record.role, files);
    return files;
  }
}

async function openOn(devices: Devices, bundle: Bundle, files: Files, options: OpenOptions): Promise<Opened> {
  const { manifest } = bundle;
  const { golden } = manifest;
  const shown = shownDevices(devices);
  const trusted = processors.includes(devices.encoder) && processors.includes(devices.decoder);
  if (!trusted && !golden && !options.unproved) {
    throw new DeviceError(
      `${shown} is not used, because the bundle holds no golden answer to prove it by; export it again, or pass unproved: true.`,
    );
  }
  for (const device of new Set(Object.values(devices))) await checkThere(device);
  const graphs = new Map<Role, Graph>();
  try {
    const records = [...manifest.graphs.values()];
    let coming = files.of(records[0]!);
    for (const [i, record] of records.entries()) {
      const checked = await coming;
      const next = records[i + 1];
      if (next) {
        // It comes while this one is opened.
        coming = files.of(next);
        coming.catch(() => undefined);
      }
      graphs.set(record.role, await openGraph(record, checked, devices, trusted && manifest.graphs.has("prepare"), options));
      options.signal?.throwIfAborted();
    }
    checkThreads(options);
    const engine = new Engine(graphs, manifest);
    if (!trusted && golden) await prove(engine, golden, shown);
    return { engine, device: shown, proved: !trusted && golden !== undefined, notice: undefined };
  } catch (error) {
    for (const graph of graphs.values()) await graph.close();
    throw error;
  }
}

/** The plain decoder of a model with a split one is opened when a prompt with a mask needs it; a device that is to be proved opens all. */
async function openGraph(
  record: GraphRecord,
  files: readonly CheckedFile[],
  devices: Devices,
  spare: boolean,
  options: OpenOptions,
): Promise<Graph> {
  const device = record.role === "encoder" ? devices.encoder : devices.decoder;
  const session: OrtTypes.InferenceSession.SessionOptions = { ...common, executionProviders: [device] };
  if (options.threads !== undefined && device === "cpu") session.intraOpNumThreads = options.threads;
  const open = spare && record.role === "decoder" ? Graph.later : Graph.open;
  return open(options.ort, record, files, device, session);
}

/** `Identity` of one number: the least that makes ONNX Runtime load its WASM. */
const smallestGraph = new Uint8Array([
  8, 8, 58, 55, 10, 16, 10, 1, 120, 18, 1, 121, 34, 8, 73, 100, 101, 110, 116, 105, 116, 121, 18, 1, 103, 90, 15, 10, 1, 120, 18, 10,
  10, 8, 8, 1, 18, 4, 10, 2, 8, 1, 98, 15, 10, 1, 121, 18, 10, 10, 8, 8, 1, 18, 4, 10, 2, 8, 1, 66, 4, 10, 0, 16, 17,
]);

/** It is compiled while the bundle's files come. What goes wrong here goes wrong again, and is said, when the first graph is opened. */
function loadWasm(ort: Ort): void {
  Turns.of(ort)
    .take(() => ort.InferenceSession.create(smallestGraph, { executionProviders: ["wasm"], logSeverityLevel: 3 }))
    .then((session) => session.release())
    .catch(() => undefined);
}

/** Whether there is an adapter at all: ONNX Runtime's own message does not tell. */
async function checkThere(device: string): Promise<void> {
  if (device !== "webgpu" || typeof navigator === "undefined") return;
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu;
  if (!gpu) throw new DeviceError("WebGPU is not there in this browser, or the page is not on https or localhost; use wasm.");
  if (!(await gpu.requestAdapter().catch(() => null))) {
    throw new DeviceError("WebGPU finds no graphics adapter on this computer; use wasm.");
  }
}

function processorOf(ort: Ort): string {
  return ort.env?.versions?.web ? "wasm" : "cpu";
}

function devicesOf(device: Device): Devices {
  const devices = typeof device === "string" ? { encoder: device, decoder: device } : device;
  if (![devices?.encoder, devices?.decoder].every((name) => typeof name === "string" && name)) {
    throw new InputError(`device ${JSON.stringify(device)}; expected a name such as wasm, webgpu or cpu, or one for encoder and decoder each.`);
  }
  return devices;
}

function shownDevices({ encoder, decoder }: Devices): string {
  return encoder === decoder ? encoder : `${encoder} (encoder) and ${decoder} (decoder)`;
}

/** The threads of WASM are those of the whole module, and are set before its first session. */
function setThreads({ ort, threads }: OpenOptions): void {
  if (threads === undefined) return;
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new InputError(`threads=${threads}; expected a whole number from 1 to 1024.`);
  }
  if (processorOf(ort) !== "wasm") return;
  if (threads > 1 && (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false) {
    throw new InputError(
      `threads=${threads} in a page that is not cross-origin isolated; serve it with the headers ` +
        "Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, or pass threads: 1.",
    );
  }
  ort.env.wasm.numThreads = threads;
}

function checkThreads({ ort, threads }: OpenOptions): void {
  const found = ort.env?.wasm?.numThreads;
  if (threads === undefined || processorOf(ort) !== "wasm" || found === threads) return;
  throw new DeviceError(`threads=${threads}, but WASM runs with ${found}; open this model before any other, or leave threads out.`);
}
