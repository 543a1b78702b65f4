import { BundleError, InputError, reason } from "./errors.js";

/** Reads files of a bundle; `path` is relative to it, with forward slashes. */
export interface Reader {
  /** What messages call the bundle. */
  readonly name: string;
  /** `onBytes` is told how many bytes have come since it was told last. */
  read(path: string, options?: ReadOptions): Promise<Uint8Array>;
}

export interface ReadOptions {
  signal?: AbortSignal | undefined;
  onBytes?: ((bytes: number) => void) | undefined;
}

/** The URL of a bundle's folder, what reads its files, or the files themselves by path. */
export type Source = string | URL | Reader | ReadonlyMap<string, Uint8Array> | Readonly<Record<string, Uint8Array>>;

export function readerOf(source: Source, fetcher: typeof fetch = fetch): Reader {
  if (typeof source === "string" || source instanceof URL) return new UrlReader(source, fetcher);
  if (source && typeof (source as Reader).read === "function") return source as Reader;
  if (source && typeof source === "object") {
    return new BytesReader(source instanceof Map ? source : new Map(Object.entries(source)));
  }
  throw new InputError(`a bundle of type ${typeof source}; expected a URL, a reader, or bytes by path.`);
}

class BytesReader implements Reader {
  readonly name = "the bundle";
  constructor(private readonly files: ReadonlyMap<string, Uint8Array>) {}

  async read(path: string, { onBytes }: ReadOptions = {}): Promise<Uint8Array> {
    const bytes = this.files.get(path);
    if (!(bytes instanceof Uint8Array)) {
      throw new BundleError(`the bundle lacks '${path}'; pass the bytes of all its files by path.`);
    }
    onBytes?.(bytes.length);
    return bytes;
  }
}

class UrlReader implements Reader {
  readonly name: string;
  private readonly base: URL;

  constructor(
    url: string | URL,
    private readonly fetcher: typeof fetch,
  ) {
    this.name = String(url);
    const folder = this.name.endsWith("/") ? this.name : `${this.name}/`;
    try {
      this.base = new URL(folder, globalThis.location?.href);
    } catch (error) {
      throw new InputError(`'${url}' is not the URL of a folder (${reason(error)}); begin it with https://.`);
    }
  }

  async read(path: string, { signal, onBytes }: ReadOptions = {}): Promise<Uint8Array> {
    const url = new URL(path.split("/").map(encodeURIComponent).join("/"), this.base);
    let response: Response;
    try {
      // Not as a method: browsers want their own `this`.
      const { fetcher } = this;
      response = await fetcher(url, signal ? { signal } : {});
    } catch (error) {
      signal?.throwIfAborted();
      throw new BundleError(`'${url}' cannot be fetched (${reason(error)}); check the address and the connection.`);
    }
    if (!response.ok) {
      throw new BundleError(`'${url}' answers ${response.status}; check that the folder holds a whole bundle.`);
    }
    try {
      return await streamed(response, onBytes);
    } catch (error) {
      signal?.throwIfAborted();
      throw new BundleError(`'${url}' broke off (${reason(error)}); try again.`);
    }
  }
}

async function streamed(response: Response, onBytes?: (bytes: number) => void): Promise<Uint8Array> {
  if (!response.body || !onBytes) return new Uint8Array(await response.arrayBuffer());
  const parts: Uint8Array[] = [];
  const stream = response.body.getReader();
  for (let part = await stream.read(); !part.done; part = await stream.read()) {
    parts.push(part.value);
    onBytes(part.value.length);
  }
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
