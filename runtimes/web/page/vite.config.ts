import { defineConfig } from "vitest/config";

// The built page is committed as data of the Python package, so that nobody who installs it needs
// Node. `make web-page` builds it again, and CI compares.
export default defineConfig({
  root: import.meta.dirname,
  cacheDir: "../node_modules/.vite-page",
  base: "./", // a site may lie anywhere
  build: {
    outDir: "../../../samdeploy/assets/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: `${import.meta.dirname}/index.html`, sw: `${import.meta.dirname}/src/sw.ts` },
      output: {
        // A service worker is found by its name, and its folder is what it is for.
        entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
      },
    },
  },
  worker: { format: "es" },
  test: { include: ["tests/*.test.ts"] },
});
