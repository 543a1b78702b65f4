// A host of static files as visitors meet them: one that heeds the site's _headers, or one that does not.
import { createServer } from "node:http";
import { readFile, stat } from "node:fs/promises";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".jpg": "image/jpeg",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** Serve `folder` under `path` on a free port of this computer; returns the address and the end. A file is sent when
 * what `held` gives for its name is done. */
export async function serve(folder, path, isolated, held = () => undefined) {
  const asked = isolated ? await readFile(join(folder, "_headers"), "utf8") : "";
  const lines = asked.split("\n").filter((line) => line.startsWith("  "));
  const heeded = Object.fromEntries(lines.map((line) => line.trim().split(/: (.*)/)));
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const name = normalize(decodeURIComponent(pathname.slice(path.length)) || "index.html");
    try {
      if (!pathname.startsWith(path) || name.startsWith("..")) throw new Error("elsewhere");
      const file = join(folder, name);
      const { mtime } = await stat(file);
      const headers = {
        "Content-Type": TYPES[extname(name)] ?? "application/octet-stream",
        "Cache-Control": "max-age=3600",
        "Last-Modified": mtime.toUTCString(),
        ...heeded,
      };
      const content = await readFile(file);
      await held(name);
      response.writeHead(200, headers).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => new Promise((resolve) => (server.close(resolve), server.closeAllConnections()));
  return { address: `http://127.0.0.1:${server.address().port}${path}`, close };
}
