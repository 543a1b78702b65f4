import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

test("the tarball installs, and its parts can be imported", () => {
  const folder = mkdtempSync(join(tmpdir(), "samdeploy-"));
  const npm = (...given: string[]): string => execFileSync("npm", given, { cwd: folder, encoding: "utf8" });
  try {
    const [packed] = JSON.parse(npm("pack", "--json", "--ignore-scripts", process.cwd())) as { filename: string; files: { path: string }[] }[];
    const paths = packed!.files.map(({ path }) => path);
    expect(paths.filter((path) => !path.startsWith("dist/")).sort()).toEqual(["LICENSE", "README.md", "package.json"]);
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    npm("install", "--offline", "--no-audit", "--no-fund", "--legacy-peer-deps", packed!.filename);
    writeFileSync(
      join(folder, "use.js"),
      `import { Sam, SamDeployError } from "samdeploy";
       import { SamWorker } from "samdeploy/client";
       import { serve } from "samdeploy/worker";
       import { openFolder } from "samdeploy/node";
       try { await Sam.open({}, {}); } catch (error) { console.log(error instanceof SamDeployError, error.message); }
       console.log(typeof SamWorker.open, typeof serve, typeof openFolder);`,
    );
    const said = execFileSync("node", ["use.js"], { cwd: folder, encoding: "utf8" });
    expect(said).toBe("true no ort given; pass the module onnxruntime-web, onnxruntime-node or onnxruntime-react-native.\nfunction function function\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 60_000);

test("the lockfile names no registry", () => {
  expect(readFileSync("package-lock.json", "utf8")).not.toMatch(/"resolved"|https?:\/\/registry/);
});
