// The page in a real Chromium, as visitors use it; `make web-demo` runs this. SITE is a folder that
// `samdeploy web` wrote; OUTPUT gets what was downloaded, screenshots, and times.json. SAMDEPLOY is the
// command, which serves the site's model for the last test.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

const [site, output] = [process.env.SITE, process.env.OUTPUT].map((path) => resolve(path));
const WAIT = 30_000; // a machine under load

/** Places in the sample, in its pixels. */
const CIRCLE = [205, 220];
const CIRCLE_EDGE = [205, 336];
const BLOB = [705, 555];
const AROUND_BLOB = [[575, 400], [870, 742]];

let browser;
let host;
const times = {};

before(async () => {
  await mkdir(output, { recursive: true });
  host = await serve(site, "/some/path/", true);
  browser = await chromium.launch(launch);
});
after(async () => {
  await browser?.close();
  await host?.close();
  await writeFile(join(output, "times.json"), JSON.stringify(times, null, 2));
});

const launch = { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] };
const desktop = { viewport: { width: 1280, height: 800 } };
const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/** A page that fails the test when something goes wrong that nobody sees, or it asks elsewhere. */
async function opened(options, { address = host.address, context, query = "" } = {}) {
  context ??= await browser.newContext({ ...options, acceptDownloads: true });
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol.startsWith("http") && origin !== new URL(address).origin) wrong.push(request.url());
  });
  page.setDefaultTimeout(WAIT);
  await page.goto(address + query);
  return { page, context, wrong };
}

const ready = (page) => page.getByText(/^(Click|Tap) an object/).waitFor();
const rows = (page) => page.getByRole("complementary", { name: "Objects" }).getByRole("listitem");
const count = (page, number) =>
  page.waitForFunction((number) => document.querySelectorAll("#list li").length === number, number);

/** Where on the screen a point of the sample is, all of which is shown. */
async function at(page, [x, y]) {
  const box = await page.locator("#canvas").boundingBox();
  const margin = box.width < 600 ? 8 : 20;
  const height = (await page.locator("#tools").boundingBox()).y - box.y + margin;
  const scale = Math.min((box.width - 2 * margin) / 1200, (height - 2 * margin) / 800, 4);
  return {
    x: box.x + box.width / 2 + (x - 600) * scale,
    y: box.y + height / 2 + (y - 400) * scale,
  };
}

async function click(page, place, options = {}) {
  const { x, y } = await at(page, place);
  if (options.shift) await page.keyboard.down("Shift");
  await page.mouse.click(x, y);
  if (options.shift) await page.keyboard.up("Shift");
}

async function drag(page, from, to) {
  const [a, b] = [await at(page, from), await at(page, to)];
  await page.mouse.move(a.x, a.y);
  await page.mouse.down();
  await page.mouse.move((a.x + b.x) / 2, (a.y + b.y) / 2, { steps: 3 });
  await page.mouse.move(b.x, b.y, { steps: 3 });
  await page.mouse.up();
}

async function saved(page, name) {
  const waiting = page.waitForEvent("download");
  await page.getByRole("group", { name: "Download" }).getByRole("button", { name }).click();
  const download = await waiting;
  const path = join(output, download.suggestedFilename());
  await download.saveAs(path);
  return path;
}

/** Lets nothing pass before it is opened, and says when somebody waits. */
function gate() {
  let [open, reach] = [];
  const opened = new Promise((resolve) => (open = resolve));
  const reached = new Promise((resolve) => (reach = resolve));
  return { open, reached, pass: () => (reach(), opened) };
}

/** A page of a host that holds back a file until the gate is opened. */
async function withHeld(name, use, options = {}) {
  const closed = gate();
  const slow = await serve(site, "/", true, (asked) => (asked === name ? closed.pass() : undefined));
  try {
    const { page, wrong } = await opened(desktop, { address: slow.address, ...options });
    await closed.reached;
    await use(page, closed.open, wrong);
  } finally {
    closed.open();
    await slow.close();
  }
}

const shown = (page, name) => page.getByRole("application", { name }).waitFor();
const choose = async (page, device) => {
  await page.locator("#about summary").click();
  await page.getByLabel("Compute with").selectOption(device);
  await page.locator("#about summary").click();
};

/** What stops the page's worker when it speaks to another host. */
async function stopped(page) {
  const worker = page.workers().find((each) => each.url().includes("/assets/worker"));
  return worker.evaluate(() => new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    fetch("https://elsewhere.invalid/").catch(() => setTimeout(resolve, 2000, "nothing"));
  }));
}

const annotations = async (page) =>
  JSON.parse(await readFile(await saved(page, "COCO"), "utf8")).annotations;

test("clicks, boxes, undo, names and downloads", async () => {
  const { page, wrong } = await opened(desktop);
  await ready(page);
  assert.match(await page.locator("#summary").innerText(), /^(WASM|WebGPU).* · picture \d/);

  await page.mouse.move(...Object.values(await at(page, CIRCLE)));
  await page.waitForFunction(() => /\d/.test(document.querySelector("#click").textContent));
  await click(page, CIRCLE);
  await count(page, 1);
  const [first] = await annotations(page);
  await copyFile(join(output, "sample_coco.json"), join(output, "click_coco.json"));
  await writeFile(join(output, "click.json"), JSON.stringify({ point: CIRCLE }));
  await page.screenshot({ path: join(output, "click.png") });

  await click(page, CIRCLE_EDGE, { shift: true });
  await page.waitForFunction(() => document.querySelector("#said").textContent.startsWith("Object 1"));
  await page.waitForTimeout(500);
  const [refined] = await annotations(page);
  assert.notEqual(refined.segmentation.counts, first.segmentation.counts);
  assert.equal((await rows(page).count()), 1);

  await page.keyboard.press("Control+z");
  assert.deepEqual((await annotations(page))[0].segmentation, first.segmentation);
  await page.keyboard.press("Control+Shift+z");
  assert.deepEqual((await annotations(page))[0].segmentation, refined.segmentation);
  await page.keyboard.press("Control+z");

  await drag(page, ...AROUND_BLOB);
  await count(page, 2);
  const name = page.getByRole("combobox", { name: "Name of object 2" });
  await name.fill("blob");
  await name.press("Enter");
  await page.screenshot({ path: join(output, "box.png") });
  const both = JSON.parse(await readFile(await saved(page, "COCO"), "utf8"));
  assert.deepEqual(both.categories.map((one) => one.name), ["object", "blob"]);
  assert.equal(both.annotations.length, 2);
  for (const button of ["Mask", "Cut-out", "YOLO"]) await saved(page, button);
  await copyFile(join(output, "sample_coco.json"), join(output, "two_coco.json"));

  await page.getByRole("button", { name: "Remove object 1" }).click();
  await count(page, 1);
  await page.getByRole("button", { name: "Undo" }).click();
  await count(page, 2);
  await page.getByRole("button", { name: "New object" }).click();
  await click(page, BLOB); // a click on an object that is there chooses it
  assert.equal(await rows(page).count(), 2);
  assert.equal(await page.locator("#list li.active input[type=text]").inputValue(), "blob");
  assert.deepEqual(wrong, []);
});

test("everything, with progress, cancel and one undo", async () => {
  const { page, wrong } = await opened(desktop);
  await ready(page);
  const button = page.locator("#everything");
  await button.click();
  await page.waitForFunction(() => /Cancel, [1-9]/.test(document.querySelector("#everything").textContent));
  await button.click();
  await page.waitForFunction(() => document.querySelector("#everything").textContent.trim() === "Everything");
  assert.equal(await rows(page).count(), 0);

  const started = performance.now();
  await button.click();
  await page.waitForFunction(() => document.querySelector("#said").textContent.startsWith("Found"));
  times.everything = Math.round(performance.now() - started);
  const found = await rows(page).count();
  assert.ok(found >= 10, `${found} objects`);
  await page.screenshot({ path: join(output, "everything.png") });
  assert.equal((await annotations(page)).length, found);
  await rename(join(output, "sample_coco.json"), join(output, "everything.json"));
  await page.getByRole("button", { name: "Undo" }).click();
  await count(page, 0);
  assert.deepEqual(wrong, []);
});

test("everything that is cancelled before the picture is looked at does not begin", async () => {
  await withHeld("model/encoder.onnx", async (page, open, wrong) => {
    await shown(page, /sample\.jpg/);
    await page.evaluate(() => {
      const button = document.querySelector("#everything");
      globalThis.texts = [];
      new MutationObserver(() => texts.push(button.textContent)).observe(button, { childList: true, subtree: true });
    });
    await page.locator("#everything").click();
    await page.keyboard.press("Escape");
    open();
    await ready(page);
    const texts = await page.evaluate(() => globalThis.texts);
    assert.equal(texts.at(-1).trim(), "Everything");
    assert.deepEqual(texts.filter((text) => /[1-9]/.test(text)), []);
    assert.deepEqual(wrong, []);
  });
});

test("by keys alone", async () => {
  const { page, wrong } = await opened(desktop);
  await ready(page);
  await page.locator("#canvas").focus();
  await page.keyboard.press("ArrowLeft");
  for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowLeft");
  for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await count(page, 1);
  await page.screenshot({ path: join(output, "keys.png") });
  await page.keyboard.press("n");
  await page.keyboard.press("b");
  await page.keyboard.press("Enter");
  for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowRight");
  for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await count(page, 2);
  const before = await page.locator("#fit").innerText();
  await page.keyboard.press("+");
  assert.notEqual(await page.locator("#fit").innerText(), before);
  await page.keyboard.press("0");
  assert.equal(await page.locator("#fit").innerText(), before);
  await page.keyboard.press("Delete");
  await count(page, 1);
  assert.deepEqual(wrong, []);
});

test("every control has a name, and the focus can be seen", async () => {
  const { page, context } = await opened(desktop);
  await ready(page);
  await click(page, CIRCLE);
  await count(page, 1);
  await page.locator("#about summary").click();
  const session = await context.newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  const controls = nodes.filter(
    ({ ignored, role }) =>
      !ignored && /^(button|radio|textbox|combobox|ColorWell|application|progressbar|img|list|toolbar|complementary)$/.test(role?.value),
  );
  assert.ok(controls.length > 20, `${controls.length} controls`);
  const nameless = controls.filter(({ name, role }) => role.value !== "list" && !name?.value?.trim());
  assert.deepEqual(nameless.map(({ role }) => role.value), []);
  await page.screenshot({ path: join(output, "about.png") });
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none", await page.evaluate(() => document.activeElement.outerHTML));
  }
});

test("a file that is no picture is one sentence", async () => {
  const { page } = await opened(desktop);
  await ready(page);
  await page.locator("#file").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no") });
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.match((await alert.innerText()).trim(), /^“notes\.txt” is not a picture .*; choose a JPEG, PNG or WebP\.$/);
  await alert.getByRole("button", { name: "Close" }).click();
  assert.equal(await alert.isVisible(), false);
});

test("another picture is opened, dropped and pasted", async () => {
  const { page, wrong } = await opened(desktop);
  await ready(page);
  const picture = (await readFile(join(site, "sample.jpg"))).toString("base64");
  for (const [kind, target, field] of [["drop", "window", "dataTransfer"], ["paste", "window", "clipboardData"]]) {
    await page.evaluate(
      async ([kind, field, picture, name]) => {
        const content = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([content], name, { type: "image/jpeg" }));
        const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
        dispatchEvent(new Kind(kind, { [field]: data, cancelable: true }));
      },
      [kind, field, picture, `${kind}.jpg`, target],
    );
    await page.getByRole("application", { name: new RegExp(`${kind}.jpg`) }).waitFor();
    await ready(page);
  }
  await page.getByRole("button", { name: "Sample" }).click();
  await page.getByRole("application", { name: /sample.jpg/ }).waitFor();
  await ready(page);
  assert.deepEqual(wrong, []);
});

test("of two pictures the one that was asked for last is shown", async () => {
  await withHeld("sample.jpg", async (page, open, wrong) => {
    const buffer = await readFile(join(site, "sample.jpg"));
    await page.locator("#file").setInputFiles({ name: "own.jpg", mimeType: "image/jpeg", buffer });
    await shown(page, /own\.jpg/);
    await ready(page);
    await click(page, CIRCLE);
    await count(page, 1);
    const arrived = page.waitForResponse(/sample\.jpg$/);
    open();
    await (await arrived).finished();
    await page.waitForTimeout(500);
    await shown(page, /own\.jpg/);
    assert.equal(await rows(page).count(), 1);
    assert.deepEqual(wrong, []);
  });
});

test("on a phone, by touch", async () => {
  const { page, context, wrong } = await opened({ ...phone, colorScheme: "dark" });
  await ready(page);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  await page.screenshot({ path: join(output, "phone-start.png") });
  const { x, y } = await at(page, CIRCLE);
  await page.touchscreen.tap(x, y);
  await count(page, 1);
  await page.getByRole("button", { name: "New object" }).tap();
  await page.getByRole("radio", { name: "Box" }).tap();
  const session = await context.newCDPSession(page);
  const touch = (type, ...points) =>
    session.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: points.map(([x, y], id) => ({ x, y, id })),
    });
  const [a, b] = [await at(page, AROUND_BLOB[0]), await at(page, AROUND_BLOB[1])];
  await touch("touchStart", [a.x, a.y]);
  await touch("touchMove", [(a.x + b.x) / 2, (a.y + b.y) / 2]);
  await touch("touchMove", [b.x, b.y]);
  await touch("touchEnd");
  await count(page, 2);
  await page.screenshot({ path: join(output, "phone.png") });
  const before = await page.locator("#fit").innerText();
  await touch("touchStart", [150, 250], [240, 250]);
  for (let step = 1; step <= 5; step++) await touch("touchMove", [150 - 10 * step, 250], [240 + 10 * step, 250]);
  await touch("touchEnd");
  assert.ok(parseInt(await page.locator("#fit").innerText()) > 1.5 * parseInt(before));
  assert.equal(await rows(page).count(), 2); // fingers that pinch do not tap
  for (const button of await page.locator("button:visible").all()) {
    const { width, height } = await button.boundingBox();
    assert.ok(width >= 32 && height >= 40, await button.evaluate((element) => element.outerHTML));
  }
  assert.deepEqual(wrong, []);
});

// In a profile of its own, as people have: private windows keep no compiled WASM.
test("the first click after the page loads, its files cached", async () => {
  const profile = await mkdtemp(join(tmpdir(), "samdeploy-page-"));
  const context = await chromium.launchPersistentContext(profile, { ...launch, ...desktop });
  const taken = [];
  try {
    for (let visit = 0; visit < 6; visit++) {
      const { page } = await opened(desktop, { context });
      await page.waitForFunction(() => document.querySelector("#canvas").ariaLabel.includes("sample"));
      await click(page, CIRCLE);
      await count(page, 1);
      taken.push(await page.evaluate(() => Math.round(performance.now())));
      times.encode = await page.locator("#encode").textContent();
      times.click = await page.locator("#click").textContent();
      times.device = await page.locator("#device").textContent();
      await page.close();
    }
  } finally {
    await context.close();
    await rm(profile, { recursive: true });
  }
  const [first, ...again] = taken;
  times.firstClick = again.sort((a, b) => a - b)[2];
  console.log(`first click answered ${again.join(", ")} ms after the page began to load; at the first visit ${first}`);
  assert.ok(times.firstClick < 30_000);
});

test("a device that is not there is refused, and another one can be chosen", async () => {
  const { page } = await opened(desktop, { query: "?device=webgpu" });
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.innerText(), /WebGPU .*use wasm/);
  await shown(page, /sample\.jpg/);
  await click(page, CIRCLE);
  await page.waitForFunction(() => document.querySelector("#undo").disabled); // nothing waits any more
  await page.locator("#about summary").click();
  assert.equal(await page.getByLabel("Compute with").inputValue(), "webgpu");
  await page.getByLabel("Compute with").selectOption("wasm");
  await ready(page);
  assert.equal(await alert.isVisible(), false);
  assert.match(await page.locator("#device").textContent(), /^WASM/);
});

test("what a device that is no longer wanted does is not shown", async () => {
  const held = "onnxruntime/ort.webgpu.min.mjs";
  await withHeld(held, async (page, open) => {
    await choose(page, "wasm");
    await ready(page);
    open();
    await page.waitForTimeout(1000);
    assert.equal(await page.getByRole("alert").isVisible(), false);
    assert.match(await page.locator("#device").textContent(), /^WASM/);
  }, { query: "?device=webgpu" });
});

test("a click is answered by the device that is chosen before the answer", async () => {
  await withHeld("model/encoder.onnx", async (page, open, wrong) => {
    await shown(page, /sample\.jpg/);
    await click(page, CIRCLE);
    await choose(page, "wasm");
    open();
    await count(page, 1);
    assert.deepEqual(wrong, []);
  });
});

test("a policy keeps the worker from other hosts", async () => {
  const { page, wrong } = await opened(desktop);
  await ready(page);
  assert.deepEqual(wrong, []);
  assert.equal(await stopped(page), "connect-src");
});

test("on a host without headers, threads and the policy are there all the same", async () => {
  const plain = await serve(site, "/", false);
  try {
    const { page, wrong } = await opened(desktop, { address: plain.address });
    await page.waitForFunction(() => crossOriginIsolated);
    await ready(page);
    await click(page, CIRCLE);
    await count(page, 1);
    assert.deepEqual(wrong, []);
    assert.equal(await stopped(page), "connect-src");
  } finally {
    await plain.close();
  }
});

test("computed by samdeploy serve", async () => {
  const command = ["serve", `model=${join(site, "model")}`, "port=0"];
  const server = spawn(process.env.SAMDEPLOY, command, { stdio: ["ignore", "pipe", "inherit"] });
  try {
    // Read to the end: what leaves off closes the pipe, and the server would stop at its next line.
    let said = "";
    const found = await new Promise((resolve, reject) => {
      server.once("exit", (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
      server.stdout.on("data", (text) => {
        said += text;
        const address = said.match(/http:\S+(?=\s)/);
        if (address) resolve(address[0]);
      });
    });
    const address = found.replace(/\/?$/, "/");
    const { page, wrong } = await opened(desktop, { address });
    await ready(page);
    assert.match(await page.locator("#device").textContent(), /by the server$/);
    await click(page, CIRCLE);
    await count(page, 1);
    const [byServer] = await annotations(page);
    const here = JSON.parse(await readFile(join(output, "click_coco.json"), "utf8")).annotations[0];
    assert.ok(Math.abs(byServer.area - here.area) <= 20, `${byServer.area} and ${here.area} pixels`);
    await page.locator("#everything").click();
    await page.waitForFunction(() => document.querySelector("#said").textContent.startsWith("Found"));
    assert.ok((await rows(page).count()) > 10);
    assert.deepEqual(wrong, []);
  } finally {
    server.kill("SIGTERM");
    await once(server, "exit");
  }
});
