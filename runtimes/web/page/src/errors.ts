/** A mistake that one sentence explains. */
export class PageError extends Error {}

/** The sentence for whatever was thrown; nothing where the visitor stopped it. */
export function sentenceOf(error: unknown): string | null {
  if (error instanceof DOMException && error.name === "AbortError") return null;
  const text = error instanceof Error ? error.message : String(error);
  const line = text.split("\n", 1)[0]!.trim() || "Something went wrong; reload the page.";
  return /[.!?…]$/.test(line) ? line : `${line}.`;
}
