import "./style.css";
import { App, pictureIn } from "./app";
import { byId } from "./dom";
import { isolate } from "./isolation";
import { remember, remembered } from "./memory";
import { lastPicture } from "./picture";
import type { BrowserChoice } from "./protocol";
import type { Segmenter, Watch } from "./segmenter";
import { openOnServer } from "./server-segmenter";
import { readSite, type Site } from "./site";
import { Status } from "./status";
import { openInWorker, WorkerCalls } from "./worker-segmenter";

const SAMPLE = "sample.jpg";
const DEVICE = "samdeploy-device";

/** Offer what this site can compute with; what the address says, or was chosen before, is chosen. */
function offer(choice: HTMLSelectElement, site: Site): void {
  for (const option of [...choice.options]) {
    const isThere = option.value === "server" ? site.server : site.model;
    if (!isThere) option.remove();
  }
  const asked = new URLSearchParams(location.search).get("device") ?? remembered("localStorage", DEVICE);
  if ([...choice.options].some(({ value }) => value === asked)) choice.value = asked!;
}

async function start(): Promise<void> {
  const status = new Status();
  const choice = byId<HTMLSelectElement>("choice");
  let early: WorkerCalls | undefined = new WorkerCalls(); // a worker takes a while to start
  const site = readSite().then((found) => {
    status.model(found.name);
    offer(choice, found);
    return found;
  });
  const app = new App(status, async (signal) => {
    status.waits("Loading the model…");
    const found = await site;
    signal.throwIfAborted();
    const calls = early;
    early = undefined;
    const onProgress = (loaded: number, total: number): void => {
      status.waits("Loading the model…", loaded < total ? loaded / total : undefined);
    };
    const segmenter = await open(found, choice.value, calls, { signal, onProgress });
    signal.throwIfAborted();
    status.computes(segmenter);
    status.waits(null);
    return segmenter;
  });

  choice.addEventListener("change", () => {
    remember("localStorage", DEVICE, choice.value);
    app.restart();
  });

  const sample = byId("sample");
  const show = lastPicture(
    (picture) => {
      app.open(picture);
      sample.hidden = picture.name === SAMPLE;
    },
    (error) => status.fail(error),
  );
  takePictures(show);
  sample.addEventListener("click", () => void show(fetchSample));
  await show(fetchSample);
}

async function fetchSample(): Promise<File> {
  const response = await fetch(SAMPLE);
  return new File([await response.blob()], SAMPLE);
}

async function open(
  site: Site,
  choice: string,
  calls: WorkerCalls | undefined,
  watch: Watch,
): Promise<Segmenter> {
  if (choice === "server") {
    calls?.close();
    return openOnServer(new URL(site.server!, document.baseURI).href);
  }
  return openInWorker(site, choice as BrowserChoice, watch, calls);
}

/** Pictures come from the file dialog, are dropped, or pasted. */
function takePictures(show: (take: () => File) => Promise<void>): void {
  const input = byId<HTMLInputElement>("file");
  byId("open").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (file) void show(() => file);
    input.value = ""; // so that the same file can be opened again
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) void show(() => pictureIn(event.clipboardData));
  });
  const drop = byId("drop");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.hidden = true;
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.hidden = true;
    void show(() => pictureIn(event.dataTransfer));
  });
}

if (await isolate()) await start();
