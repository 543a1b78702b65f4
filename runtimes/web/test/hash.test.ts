import { createHash, randomBytes } from "node:crypto";
import { expect, test, vi } from "vitest";
import { plainSha256, sha256 } from "../src/hash.js";

test("hashes are those of a library, with WebCrypto and without", async () => {
  for (const length of [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 1000, 100_003]) {
    // Within a larger buffer, as a part of a file may be.
    const bytes = new Uint8Array(randomBytes(length + 3)).subarray(3);
    const expected = createHash("sha256").update(bytes).digest("hex");
    expect(plainSha256(bytes)).toBe(expected);
    expect(await sha256(bytes)).toBe(expected);
    vi.stubGlobal("crypto", {}); // as on a page of plain http
    expect(await sha256(bytes)).toBe(expected);
    vi.unstubAllGlobals();
  }
});
