import { lstat, readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import { BundleError, reason } from "./errors.js";
import type { Reader } from "./source.js";

/** A bundle in a folder of this computer, for Node; links in it are refused. */
export async function openFolder(folder: string): Promise<Reader> {
  let root: string;
  try {
    root = await realpath(folder);
  } catch (error) {
    throw new BundleError(`'${folder}' cannot be opened (${reason(error)}); check the path.`);
  }
  return {
    name: folder,
    async read(path, { signal, onBytes } = {}) {
      const full = join(root, ...path.split("/"));
      try {
        if ((await realpath(full)) !== full || !(await lstat(full)).isFile()) {
          throw new BundleError(`bundle '${folder}' names '${path}', which is a link or no file; do not use it.`);
        }
        const bytes = await readFile(full, signal ? { signal } : {});
        onBytes?.(bytes.length);
        // A view of its own, not of the pool that small files share.
        return new Uint8Array(bytes);
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof BundleError) throw error;
        throw new BundleError(`bundle '${folder}' lacks '${path}' (${reason(error)}); export or copy it again.`);
      }
    },
  };
}
