import { defineConfig } from "vitest/config";

export default defineConfig({
  // One file at a time: each of them computes on all cores.
  test: { include: ["test/*.test.ts"], fileParallelism: false, testTimeout: 60_000, hookTimeout: 60_000 },
});
