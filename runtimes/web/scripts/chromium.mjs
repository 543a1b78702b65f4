// A page of this folder in Chromium, for tests and benchmarks.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, resolve } from "node:path";
import { chromium } from "playwright-core";

const types = { ".js": "text/javascript", ".mjs": "text/javascript", ".html": "text/html", ".wasm": "application/wasm" };

/** WebGPU on SwiftShader, a graphics adapter in software. */
const software = [
  "--enable-unsafe-webgpu",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
  "--use-webgpu-adapter=swiftshader",
  "--ignore-gpu-blocklist",
];

/** Debian's Chromium, or that of the variable CHROMIUM. */
export function open() {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  // Debian's sandbox does not start for root, nor in most containers.
  return chromium.launch({ executablePath, args: ["--no-sandbox", ...software] });
}

/**
 * Serves this package's folder, an empty page at `/`, `texts` by path, and other `folders` by the beginning of
 * their paths; cross-origin isolated, so that WASM may have threads.
 */
export function serving(folders = {}, texts = {}) {
  const pages = { "/": "<!doctype html><title>samdeploy</title>", ...texts };
  return createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname));
    const headers = {
      "Content-Type": types[extname(path)] ?? (pages[path] ? "text/html" : "application/octet-stream"),
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    };
    const start = Object.keys(folders).find((each) => path.startsWith(each));
    const file = start ? join(folders[start], path.slice(start.length)) : resolve(`.${path}`);
    if (pages[path]) response.writeHead(200, headers).end(pages[path]);
    else if (existsSync(file) && statSync(file).isFile()) createReadStream(file).pipe(response.writeHead(200, headers));
    else response.writeHead(404, headers).end();
  }).listen(0, "localhost");
}
