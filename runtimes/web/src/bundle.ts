import { BundleError } from "./errors.js";
import { sha256 } from "./hash.js";
import { longestManifest, manifestName, readManifest, type FileRecord, type GraphRecord, type Manifest } from "./manifest.js";
import { externalFiles } from "./onnx_file.js";
import { readerOf, type Reader, type Source } from "./source.js";

export interface FetchOptions {
  /** Instead of the global one, such as one with a token or a cache. */
  fetch?: typeof fetch;
  signal?: AbortSignal;
  /** Told how many bytes of all graphs have come. */
  onProgress?: (loaded: number, total: number) => void;
}

/** A file that was checked. */
export interface CheckedFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** A bundle whose manifest was checked; its files are read, and checked, graph by graph. */
export class Bundle {
  private loaded = 0;

  private constructor(
    private readonly reader: Reader,
    readonly manifest: Manifest,
    private readonly options: FetchOptions,
  ) {}

  static async open(source: Source, options: FetchOptions = {}): Promise<Bundle> {
    const reader = readerOf(source, options.fetch);
    const bytes = await reader.read(manifestName, { signal: options.signal });
    if (bytes.length > longestManifest) {
      throw new BundleError(`'${reader.name}' has a ${manifestName} of ${bytes.length} bytes; expected at most ${longestManifest}.`);
    }
    return new Bundle(reader, readManifest(new TextDecoder().decode(bytes), reader.name), options);
  }

  /** The graph, then its side files; each is what the manifest says, and no other is read beside them. */
  async files(graph: GraphRecord): Promise<CheckedFile[]> {
    const files: CheckedFile[] = [];
    for (const record of graph.files) files.push({ path: record.path, bytes: await this.file(record) });
    const [main, ...beside] = files;
    let named: Set<string>;
    try {
      named = externalFiles(main!.bytes);
    } catch {
      throw new BundleError(`'${main!.path}' of '${this.reader.name}' is not an ONNX file or is truncated; export it again.`);
    }
    const folder = main!.path.slice(0, main!.path.lastIndexOf("/") + 1);
    for (const name of named) {
      if (!beside.some((file) => file.path === folder + name)) {
        throw new BundleError(
          `'${main!.path}' of '${this.reader.name}' makes a library read '${name}', which its manifest does not list; do not use it.`,
        );
      }
    }
    return files;
  }

  private async file(record: FileRecord): Promise<Uint8Array> {
    const { signal, onProgress } = this.options;
    const total = [...this.manifest.graphs.values()].flatMap((graph) => graph.files).reduce((sum, file) => sum + file.bytes, 0);
    const onBytes = (bytes: number): void => {
      this.loaded += bytes;
      onProgress?.(Math.min(this.loaded, total), total);
    };
    const bytes = await this.reader.read(record.path, { signal, onBytes });
    signal?.throwIfAborted();
    if (bytes.length !== record.bytes) {
      throw new BundleError(
        `'${record.path}' of '${this.reader.name}' has ${bytes.length} bytes, the manifest says ${record.bytes}; copy the bundle again.`,
      );
    }
    if ((await sha256(bytes)) !== record.sha256) {
      throw new BundleError(
        `'${record.path}' of '${this.reader.name}' was changed: its SHA-256 is not the manifest's; copy the bundle again.`,
      );
    }
    return bytes;
  }
}
