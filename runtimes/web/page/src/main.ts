import "./style.css";
import { App, pictureIn } from "./app";
import { byId } from "./dom";
import { isolate } from "./isolation";
import type { BrowserChoice } from "./protocol";
import type { Segmenter } from "./segmenter";
import { openOnServer } from "./server-segmenter";
import { readSite, type Site } from "./site";
import { Status } from "./status";
import { openInWorker } from "./worker-segmenter";

const SAMPLE = "sample.jpg";
const DEVICE = "samdeploy-device";

/** Offer what this site can compute with; what the address says, or was chosen before, is chosen. */
function offer(choice: HTMLSelectElement, site: Site): void {
  for (const option of [...choice.options]) {
    const isThere = option.value === "server" ? site.server : site.model;
    if (!isThere) option.remove();
  }
  const asked = new URLSearchParams(location.search).get("device") ?? localStorage.getItem(DEVICE);
  if ([...choice.options].some(({ value }) => value === asked)) choice.value = asked!;
}

async function start(): Promise<void> {
  const status = new Status();
  const choice = byId<HTMLSelectElement>("choice");
  const site = readSite().then((found) => {
    status.model(found.name);
    offer(choice, found);
    return found;
  });
  const app = new App(status, async () => {
    status.waits("Loading the model…");
    const segmenter = await open(await site, choice.value, (loaded, total) => {
      status.waits("Loading the model…", loaded < total ? loaded / total : undefined);
    });
    status.computes(segmenter);
    status.waits(null);
    return segmenter;
  });

  choice.addEventListener("change", () => {
    localStorage.setItem(DEVICE, choice.value);
    app.restart();
  });

  const sample = byId("sample");
  const openSample = async (): Promise<void> => {
    sample.hidden = true;
    const response = await fetch(SAMPLE);
    await app.open(await response.blob(), SAMPLE);
  };
  const openFile = async (take: () => File): Promise<void> => {
    try {
      const file = take();
      await app.open(file, file.name);
      sample.hidden = false;
    } catch (error) {
      status.fail(error);
    }
  };
  takePictures(openFile);
  sample.addEventListener("click", () => void openSample());
  await openSample();
}

async function open(
  site: Site,
  choice: string,
  onProgress: (loaded: number, total: number) => void,
): Promise<Segmenter> {
  if (choice === "server") return openOnServer(new URL(site.server!, document.baseURI).href);
  return openInWorker(site, choice as BrowserChoice, onProgress);
}

/** Pictures come from the file dialog, are dropped, or pasted. */
function takePictures(open: (take: () => File) => Promise<void>): void {
  const input = byId<HTMLInputElement>("file");
  byId("open").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (file) void open(() => file);
    input.value = ""; // so that the same file can be opened again
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) void open(() => pictureIn(event.clipboardData));
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
    void open(() => pictureIn(event.dataTransfer));
  });
}

if (await isolate()) await start();
