import { byId } from "./dom";
import { sentenceOf } from "./errors";
import type { Segmenter } from "./segmenter";

/** What the page says of itself: device, times, what it waits for, and mistakes. */
export class Status {
  private readonly dot = byId("dot");
  private readonly error = byId("error");
  private device = "";
  private times: Partial<Record<"encode" | "click", number>> = {};

  constructor() {
    this.error.querySelector("button")?.addEventListener("click", () => this.forgive());
  }

  model(name: string): void {
    byId("model").textContent = name;
  }

  /** What computes, why it is not something else, if there is a reason, and where pictures go. */
  computes({ device, why, isHere }: Segmenter): void {
    this.device = device;
    this.times = {};
    byId("device").textContent = device;
    byId("why").textContent = why ?? "";
    byId("where").textContent = isHere
      ? "Everything is computed here. The picture never leaves this device."
      : "Pictures go to the server of this page, and nowhere else.";
    byId("encode").textContent = byId("click").textContent = "…";
    this.summarise();
  }

  took(what: "encode" | "click", milliseconds: number): void {
    this.times[what] = milliseconds;
    byId(what).textContent = duration(milliseconds);
    this.summarise();
  }

  /** Under way with something: a bar that is full at 1, or one that only moves. */
  waits(text: string | null, done?: number): void {
    byId("loading").hidden = text === null;
    this.dot.classList.toggle("busy", text !== null);
    if (text === null) return;
    byId("loading-text").textContent = text;
    const bar = byId<HTMLProgressElement>("loading-bar");
    if (done === undefined) bar.removeAttribute("value");
    else bar.value = done;
  }

  hint(text: string): void {
    byId("hint").textContent = text;
  }

  /** For those who do not see the picture. */
  say(text: string): void {
    byId("said").textContent = text;
  }

  fail(error: unknown): void {
    const sentence = sentenceOf(error);
    if (sentence === null) return;
    this.error.querySelector("span")!.textContent = sentence;
    this.error.hidden = false;
  }

  forgive(): void {
    this.error.hidden = true;
  }

  private summarise(): void {
    const { encode, click } = this.times;
    const times = [
      ...(encode === undefined ? [] : [`picture ${duration(encode)}`]),
      ...(click === undefined ? [] : [`click ${duration(click)}`]),
    ];
    const more = document.createElement("span");
    more.className = "wide";
    more.textContent = times.map((text) => ` · ${text}`).join("");
    byId("summary").replaceChildren(this.device || "Loading", more);
  }
}

/** Milliseconds as people read them. */
export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.max(1, Math.round(milliseconds))} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 1 : 0)} s`;
}
