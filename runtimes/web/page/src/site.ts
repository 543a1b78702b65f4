import { PageError } from "./errors";

/** `site.json`: what may compute. A site of `samdeploy web` has a model and ONNX Runtime for the
 * browser; one of `samdeploy serve` has a server, or both. Addresses are relative to the page. */
export interface Site {
  readonly name: string;
  readonly model?: string;
  readonly onnxruntime?: string;
  readonly server?: string;
}

const NEWEST = 1;

export async function readSite(): Promise<Site> {
  const response = await fetch("site.json").catch(() => null);
  if (!response?.ok) {
    throw new PageError(
      location.protocol === "file:"
        ? "A page opened as a file may not load its model; serve the folder, as with 'python -m http.server'."
        : "The page has no readable site.json; write the folder again with 'samdeploy web'.",
    );
  }
  const site = (await response.json()) as Site & { schema_version: number };
  if (site.schema_version > NEWEST) {
    throw new PageError("The site.json is newer than this page; write the folder again with 'samdeploy web'.");
  }
  return site;
}
