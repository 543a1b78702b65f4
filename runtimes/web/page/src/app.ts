import { boxOf, holds } from "./crop";
import { byId } from "./dom";
import { chosen, DOWNLOADS } from "./downloads";
import { Drafts, type Draft } from "./drafts";
import { PageError } from "./errors";
import { listen, type Pressed } from "./gestures";
import { History } from "./history";
import { listenToKeys } from "./keys";
import {
  activeOf,
  NONE,
  withActive,
  withChanged,
  withNew,
  without,
  type Objects,
  type Segment,
} from "./objects";
import { Panel } from "./panel";
import { pixelsOf, type Picture } from "./picture";
import type { Segmenter } from "./segmenter";
import { Stage } from "./stage";
import type { Status } from "./status";
import { Tools } from "./tools";
import type { Answer, Box, Point, Prompt } from "./types";
import { clamped, isInside } from "./view";

/** Above this many milliseconds a click is too slow to be shown before it is made. */
const SLOW = 300;

const isTouched = matchMedia("(pointer: coarse)");

/** The page: what visitors do, and what becomes of it. */
export class App {
  private readonly canvas = byId<HTMLCanvasElement>("canvas");
  private readonly stage = new Stage(this.canvas, byId("tools"), (scale) => this.showScale(scale));
  private readonly history = new History<Objects>(NONE);
  private readonly tools = new Tools((tool) => this.canvas.classList.toggle("moving", tool === "move"));
  private readonly panel = new Panel({
    choose: (id) => this.activate(id),
    change: (id, change) => this.push(withChanged(this.objects, id, change)),
    remove: (id) => this.push(without(this.objects, id)),
  });
  private readonly drafts = new Drafts(
    (prompt) => this.ask(prompt),
    (draft, answer) => this.commit(draft, answer),
    (error) => {
      this.status.fail(error);
      this.show();
    },
  );

  private picture: Picture | null = null;
  /** Of the picture, by the segmenter; before that nothing can be asked. */
  private encoded: Promise<unknown> = Promise.resolve();
  private isEncoded = false;
  private segmenter: Promise<Segmenter>;
  /** Ends the segmenter, and its loading. */
  private device = new AbortController();
  /** Counts pictures and devices, so that what was asked about an earlier one is forgotten. */
  private epoch = 0;
  private clickTook = 0;

  private hovered: Point | null = null;
  private preview: Answer | null = null;
  private previewing = false;
  private box: Box | null = null;
  private cursor: Point | null = null;
  private corner: Point | null = null;
  private spaceHeld = false;
  private generating: AbortController | null = null;

  constructor(
    private readonly status: Status,
    private readonly load: (signal: AbortSignal) => Promise<Segmenter>,
  ) {
    this.segmenter = this.start();
    this.listen();
    this.show();
  }

  /** Another device computes from now on. */
  restart(): void {
    this.generating?.abort();
    this.status.forgive();
    this.device.abort();
    void this.segmenter.then((one) => one.close()).catch(() => undefined);
    this.segmenter = this.start();
    this.encode();
  }

  /** Show a picture and look at it; what was made on the one before is gone. */
  open(picture: Picture): void {
    this.generating?.abort();
    this.drafts.drop();
    this.picture = picture;
    [this.preview, this.hovered, this.box, this.cursor, this.corner] = [null, null, null, null, null];
    this.history.clear(NONE);
    this.stage.show(picture);
    const { name, width, height } = picture;
    this.canvas.ariaLabel = `Picture to segment: ${name}, ${width} by ${height} pixels`;
    this.status.forgive();
    this.show();
    this.encode();
  }

  private get objects(): Objects {
    return this.history.present;
  }

  // What the model does

  private start(): Promise<Segmenter> {
    const { signal } = (this.device = new AbortController());
    const segmenter = this.load(signal);
    segmenter.catch((error: unknown) => {
      if (signal.aborted) return; // another device was chosen
      this.status.waits(null);
      this.status.fail(error);
    });
    return segmenter;
  }

  private encode(): void {
    const { picture } = this;
    if (!picture) return;
    const epoch = ++this.epoch;
    this.isEncoded = false;
    this.encoded = (async () => {
      const segmenter = await this.segmenter;
      if (epoch !== this.epoch) return;
      this.status.waits("Looking at the picture…");
      const started = performance.now();
      await segmenter.encode(pixelsOf(picture));
      if (epoch !== this.epoch) return;
      this.status.took("encode", performance.now() - started);
      this.status.waits(null);
      this.isEncoded = true;
      this.show();
    })();
    this.encoded.catch((error: unknown) => {
      if (epoch !== this.epoch) return;
      this.status.waits(null);
      this.status.fail(error);
    });
  }

  private async ask(prompt: Prompt): Promise<Answer> {
    const { picture } = this;
    while (picture === this.picture) {
      const { epoch } = this;
      try {
        await this.encoded;
        if (epoch !== this.epoch) continue;
        const segmenter = await this.segmenter;
        const started = performance.now();
        const answer = await segmenter.predict(prompt);
        if (epoch !== this.epoch) continue;
        this.clickTook = performance.now() - started;
        this.status.took("click", this.clickTook);
        return answer;
      } catch (error) {
        if (epoch === this.epoch) throw error; // else the next device is asked
      }
    }
    throw new DOMException("Another picture was opened.", "AbortError");
  }

  private commit({ target, prompt, closed }: Draft, answer: Answer): void {
    const crop = this.stage.cropOf(answer);
    if (!crop) {
      this.status.say("Nothing was found there.");
      this.show();
      return;
    }
    const { objects } = this;
    const changes = target !== null && objects.list.some(({ id }) => id === target);
    const next = changes
      ? withChanged(objects, target, { prompt, answer })
      : withNew(objects, [{ prompt, answer }]);
    this.preview = null;
    this.push(closed ? withActive(next, null) : next);
    const number = changes ? next.list.findIndex(({ id }) => id === target) + 1 : next.list.length;
    const score = Math.min(1, answer.score).toFixed(2);
    this.status.say(`Object ${number}: ${crop.area.toLocaleString("en")} pixels, score ${score}.`);
  }

  private async everything(): Promise<void> {
    if (this.generating) {
      this.generating.abort();
      return;
    }
    if (!this.picture) return;
    const stop = new AbortController();
    this.generating = stop;
    this.finish();
    this.tools.progress(0);
    this.status.say("Finding everything.");
    try {
      await this.encoded;
      stop.signal.throwIfAborted();
      const segmenter = await this.segmenter;
      const found = await segmenter.generate({
        signal: stop.signal,
        onProgress: (done, total) => this.tools.progress(done / total),
      });
      stop.signal.throwIfAborted();
      const known = new Set(this.objects.list.map(({ answer }) => answer.rle.counts));
      const fresh = found.filter(
        (answer) => this.stage.cropOf(answer) && !known.has(answer.rle.counts),
      );
      if (fresh.length) {
        this.push(withNew(this.objects, fresh.map((answer) => ({ prompt: null, answer }))));
      }
      this.status.say(`Found ${fresh.length} objects.`);
    } catch (error) {
      if (!stop.signal.aborted) this.status.fail(error);
    } finally {
      if (this.generating === stop) this.generating = null;
      this.tools.progress(null);
      this.show();
    }
  }

  // What visitors do

  private listen(): void {
    listen(
      this.canvas,
      {
        drawsBoxes: ({ touch }) => this.tools.tool === "box" || (!touch && this.tools.tool !== "move"),
        hover: (at) => this.hover(at),
        tap: (at, pressed) => this.tap(at, pressed),
        box: (from, to, finished) => this.drawBox(from, to, finished),
        boxLost: () => this.drawBox(null, null, false),
        pan: (dx, dy) => this.stage.pan(dx, dy),
        zoom: (factor, at) => this.stage.zoom(factor, at),
      },
      () => this.spaceHeld || this.tools.tool === "move",
    );
    listenToKeys(this.canvas, {
      move: (dx, dy) => this.moveCursor(dx, dy),
      press: (shift) => this.pressCursor(shift),
      space: (held) => this.holdSpace(held),
      tool: (tool) => this.tools.choose(tool),
      everything: () => void this.everything(),
      escape: () => this.escape(),
      finish: () => this.finish(),
      remove: () => this.removeActive(),
      undo: () => this.undo(),
      redo: () => this.redo(),
      zoom: (factor) => (factor ? this.stage.zoom(factor) : this.stage.fit()),
      open: () => byId("file").click(),
    });
    this.canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.draw();
    });
    const onClick = (id: string, act: () => void): void => {
      byId(id).addEventListener("click", act);
    };
    onClick("everything", () => void this.everything());
    onClick("undo", () => this.undo());
    onClick("redo", () => this.redo());
    onClick("new", () => this.finish());
    onClick("in", () => this.stage.zoom(1.4));
    onClick("out", () => this.stage.zoom(1 / 1.4));
    onClick("fit", () => this.stage.fit());
    for (const button of document.querySelectorAll<HTMLButtonElement>("[data-save]")) {
      button.addEventListener("click", () => void this.download(button.dataset.save!));
    }
  }

  private tap(at: Point, { shift }: Pressed): void {
    const { picture } = this;
    const point = this.stage.toPicture(at);
    if (!picture) return;
    if (!isInside(point, picture)) {
      this.finish(); // beside the picture
      return;
    }
    if (this.tools.tool === "move") return;
    this.cursor = null;
    this.click(point, shift || this.tools.tool === "remove" ? 0 : 1);
  }

  private click(point: Point, label: 0 | 1): void {
    const under = this.free && label === 1 ? this.objectAt(point) : null;
    if (under) {
      this.activate(under.id);
      return;
    }
    if (this.free && label === 0) {
      this.status.hint("Click an object first, then what does not belong to it");
      return;
    }
    this.drafts.click(point, label, this.objects, (answer) => {
      const crop = this.stage.cropOf(answer);
      return crop ? boxOf(crop) : undefined;
    });
    this.preview = null;
    this.show();
  }

  /** Whether the next click is about no object that is there. */
  private get free(): boolean {
    return !this.drafts.open && (this.drafts.waiting || this.objects.active === null);
  }

  /** The smallest object with the point. */
  private objectAt([x, y]: Point): Segment | null {
    const area = (one: Segment): number => this.stage.cropOf(one.answer)?.area ?? 0;
    const under = this.objects.list.filter(({ answer }) => {
      const crop = this.stage.cropOf(answer);
      return crop && holds(crop, x, y);
    });
    return under.sort((a, b) => area(a) - area(b))[0] ?? null;
  }

  private drawBox(from: Point | null, to: Point | null, finished: boolean): void {
    const { picture } = this;
    this.box = null;
    if (picture && from && to) {
      const [a, b] = [from, to].map((at) => clamped(this.stage.toPicture(at), picture));
      this.box = boxBetween(a!, b!);
    }
    if (finished) this.askBox();
    else this.draw();
  }

  private askBox(): void {
    const { box } = this;
    this.box = null;
    if (box && box[2] - box[0] >= 1 && box[3] - box[1] >= 1) {
      this.preview = null;
      this.drafts.box(box);
    }
    this.show();
  }

  private hover(at: Point | null): void {
    this.hovered = at && this.stage.toPicture(at);
    void this.showPreview();
  }

  /** The mask that a click would give, where nothing else is going on. */
  private async showPreview(): Promise<void> {
    const point = this.hovered;
    const canClick = this.tools.tool === "add" && this.free && this.isEncoded;
    const isFree = canClick && !this.generating && !this.drafts.waiting;
    const inside = point && this.picture && isInside(point, this.picture);
    const under = isFree && inside ? this.objectAt(point) : null;
    this.canvas.classList.toggle("over", under !== null);
    if (!isFree || !inside || under || this.clickTook > SLOW) {
      if (this.preview) {
        this.preview = null;
        this.draw();
      }
      return;
    }
    if (this.previewing) return;
    this.previewing = true;
    try {
      const answer = await this.ask({ points: [point], labels: [1] });
      if (this.hovered && this.free && !this.drafts.waiting) this.preview = answer;
      this.draw();
    } catch (error) {
      this.status.fail(error);
      this.hovered = null;
    } finally {
      this.previewing = false;
    }
    if (this.hovered !== point) void this.showPreview();
  }

  private moveCursor(dx: number, dy: number): void {
    const { picture } = this;
    if (!picture) return;
    const start: Point = this.cursor ?? [picture.width / 2, picture.height / 2];
    const { scale } = this.stage.view;
    const moved: Point = this.cursor ? [start[0] + dx / scale, start[1] + dy / scale] : start;
    this.cursor = clamped(moved, picture);
    this.stage.reveal(this.cursor);
    if (this.corner) this.box = boxBetween(this.corner, this.cursor);
    this.hovered = this.cursor;
    this.draw();
    void this.showPreview();
  }

  private pressCursor(shift: boolean): void {
    if (!this.cursor) {
      this.moveCursor(0, 0);
    } else if (this.tools.tool === "box") {
      if (this.corner) this.askBox();
      this.corner = this.corner ? null : this.cursor;
    } else {
      this.click(this.cursor, shift || this.tools.tool === "remove" ? 0 : 1);
    }
  }

  private holdSpace(held: boolean): void {
    this.spaceHeld = held;
    this.canvas.classList.toggle("moving", held || this.tools.tool === "move");
  }

  private escape(): void {
    if (this.generating) this.generating.abort();
    else if (this.corner) [this.corner, this.box] = [null, null];
    else if (byId<HTMLDetailsElement>("about").open) byId<HTMLDetailsElement>("about").open = false;
    else this.finish();
    this.status.forgive();
    this.draw();
  }

  /** The next click is about another object. */
  private finish(): void {
    this.drafts.close();
    this.activate(null);
  }

  private activate(id: number | null): void {
    if (id !== null) this.drafts.close();
    this.preview = null;
    if (this.objects.active !== id) this.history.replace(withActive(this.objects, id));
    this.show();
  }

  private removeActive(): void {
    const { active } = this.objects;
    if (active !== null) this.push(without(this.objects, active));
  }

  private undo(): void {
    if (this.drafts.waiting) this.drafts.drop();
    else this.history.undo();
    this.preview = null;
    this.show();
  }

  private redo(): void {
    this.history.redo();
    this.show();
  }

  private async download(what: string): Promise<void> {
    try {
      if (this.picture) await DOWNLOADS[what]?.(this.picture, this.objects);
    } catch (error) {
      this.status.fail(error);
    }
  }

  // What is shown

  private push(objects: Objects): void {
    this.history.push(objects);
    this.show();
  }

  private show(): void {
    const { objects, picture } = this;
    const count = objects.list.length;
    this.panel.show(objects);
    byId<HTMLButtonElement>("undo").disabled = !this.history.canUndo && !this.drafts.waiting;
    byId<HTMLButtonElement>("redo").disabled = !this.history.canRedo;
    byId<HTMLButtonElement>("new").disabled = this.free;
    byId<HTMLButtonElement>("everything").disabled = !picture;
    for (const button of document.querySelectorAll<HTMLButtonElement>("[data-save]")) {
      button.disabled = !count;
    }
    const isOne = chosen(objects).length === 1 && activeOf(objects);
    const number = objects.list.findIndex(({ id }) => id === objects.active) + 1;
    byId("scope").textContent = !count ? "" : isOne && count > 1 ? `object ${number} as a picture` : "";
    this.status.hint(this.hint());
    this.draw();
  }

  private hint(): string {
    if (!this.picture || !this.isEncoded || this.generating) return "";
    const { list, active } = this.objects;
    const touch = isTouched.matches;
    if (!list.length && !this.drafts.waiting) {
      return touch ? "Tap an object" : "Click an object, or drag a box around it";
    }
    if (list.length === 1 && active !== null && activeOf(this.objects)?.prompt?.points.length === 1) {
      return touch
        ? "Tap what is missing, or begin a new object"
        : "Click what is missing, Shift-click what is too much";
    }
    return "";
  }

  private draw(): void {
    const { objects, drafts } = this;
    const area = (one: Segment): number => this.stage.cropOf(one.answer)?.area ?? 0;
    this.stage.set({
      objects: [...objects.list].sort((a, b) => area(b) - area(a)), // small ones on top
      active: objects.active,
      prompt: drafts.open?.prompt ?? activeOf(objects)?.prompt ?? null,
      preview: this.preview,
      box: this.box,
      cursor: this.cursor,
    });
  }

  private showScale(scale: number): void {
    byId("fit").textContent = `${Math.round(scale * 100)} %`;
  }
}

function boxBetween([x1, y1]: Point, [x2, y2]: Point): Box {
  return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
}

/** The picture among what was dropped or pasted. */
export function pictureIn(data: DataTransfer | null): File {
  const files = [...(data?.files ?? [])];
  const picture = files.find(({ type }) => type.startsWith("image/")) ?? files[0];
  if (!picture) throw new PageError("That is no picture; drop or paste an image file.");
  return picture;
}
