import { cropOf, type Crop } from "./crop";
import type { Segment } from "./objects";
import { ringsOf, smoothPath } from "./outline";
import type { Picture } from "./picture";
import type { Answer, Box, Point, Prompt } from "./types";
import { fitted, panned, toPicture, toStage, zoomed, type Size, type View } from "./view";

/** What is drawn over the picture. */
export interface Scene {
  readonly objects: readonly Segment[];
  readonly active: number | null;
  /** The prompt that is being asked, or that of the active object. */
  readonly prompt: Prompt | null;
  readonly preview: Answer | null;
  /** A box that is being drawn. */
  readonly box: Box | null;
  /** Where the keyboard points. */
  readonly cursor: Point | null;
}

export const NOTHING: Scene = {
  objects: [],
  active: null,
  prompt: null,
  preview: null,
  box: null,
  cursor: null,
};

/** The canvas: a picture that can be moved and zoomed, with masks, prompts and a cursor on it. */
export class Stage {
  view: View = { scale: 1, x: 0, y: 0 };
  private picture: Picture | null = null;
  private scene: Scene = NOTHING;
  private size: Size = { width: 1, height: 1 };
  private isFitted = true;
  private requested = 0;
  private readonly shapes = new WeakMap<Answer, { crop: Crop | null; path: Path2D }>();

  constructor(
    private readonly canvas: HTMLCanvasElement,
    /** What lies over its lower edge. */
    private readonly tools: HTMLElement,
    private readonly onView: (scale: number) => void,
  ) {
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show a picture, all of it. */
  show(picture: Picture): void {
    this.picture?.bitmap.close();
    this.picture = picture;
    this.fit();
  }

  set(scene: Scene): void {
    this.scene = scene;
    this.draw();
  }

  fit(): void {
    this.isFitted = true;
    const margin = this.size.width < 600 ? 8 : 20;
    const below = this.size.height - this.tools.offsetTop - margin;
    if (this.picture) this.look(fitted(this.picture, this.size, margin, below));
  }

  zoom(factor: number, at: Point = [this.size.width / 2, this.size.height / 2]): void {
    if (!this.picture) return;
    this.isFitted = false;
    this.look(zoomed(this.view, factor, at, this.picture, this.size));
  }

  pan(dx: number, dy: number): void {
    if (!this.picture) return;
    this.isFitted = false;
    this.look(panned(this.view, dx, dy, this.picture, this.size));
  }

  /** Move the picture so that a point of it can be seen. */
  reveal(point: Point): void {
    const [x, y] = toStage(this.view, point);
    const beyond = (at: number, side: number): number =>
      at < 40 ? 40 - at : at > side - 40 ? side - 40 - at : 0;
    const [dx, dy] = [beyond(x, this.size.width), beyond(y, this.size.height)];
    if (dx || dy) this.pan(dx, dy);
  }

  toPicture(at: Point): Point {
    return toPicture(this.view, at);
  }

  /** The part of a mask that is set. */
  cropOf(answer: Answer): Crop | null {
    return this.shapeOf(answer).crop;
  }

  private shapeOf(answer: Answer): { crop: Crop | null; path: Path2D } {
    let shape = this.shapes.get(answer);
    if (!shape) {
      const crop = cropOf(answer.rle);
      shape = { crop, path: new Path2D(crop ? smoothPath(ringsOf(crop)) : "") };
      this.shapes.set(answer, shape);
    }
    return shape;
  }

  private look(view: View): void {
    this.view = view;
    this.onView(view.scale);
    this.draw();
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [dx, dy] = [(width - this.size.width) / 2, (height - this.size.height) / 2];
    this.size = { width, height };
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    if (this.isFitted) this.fit();
    else this.pan(dx, dy);
    this.paint(); // at once: a canvas that was resized is empty
  }

  private draw(): void {
    this.requested ||= requestAnimationFrame(() => this.paint());
  }

  private paint(): void {
    cancelAnimationFrame(this.requested);
    this.requested = 0;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    const { scale, x, y } = this.view;
    const dense = devicePixelRatio;
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, this.size.width, this.size.height);
    if (!this.picture) return;
    context.setTransform(dense * scale, 0, 0, dense * scale, dense * x, dense * y);
    context.imageSmoothingEnabled = scale < 3;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture.bitmap, 0, 0);
    for (const one of this.scene.objects) this.paintObject(context, one);
    if (this.scene.preview) this.paintPreview(context, this.scene.preview);
    context.setTransform(dense, 0, 0, dense, 0, 0);
    this.paintPrompt(context);
  }

  private paintObject(context: CanvasRenderingContext2D, one: Segment): void {
    const { path } = this.shapeOf(one.answer);
    const isActive = one.id === this.scene.active;
    context.globalAlpha = isActive ? 0.5 : 0.4;
    context.fillStyle = one.colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.lineJoin = "round";
    if (isActive) this.strokeLine(context, path, "#fff", 4.5);
    this.strokeLine(context, path, one.colour, isActive ? 2.5 : 1.5);
  }

  private paintPreview(context: CanvasRenderingContext2D, answer: Answer): void {
    const { path } = this.shapeOf(answer);
    context.globalAlpha = 0.35;
    context.fillStyle = "#fff";
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    this.strokeLine(context, path, "rgb(0 0 0 / 45%)", 3.5);
    this.strokeLine(context, path, "#fff", 2);
  }

  private strokeLine(
    context: CanvasRenderingContext2D,
    path: Path2D,
    style: string,
    width: number,
  ): void {
    context.strokeStyle = style;
    context.lineWidth = width / this.view.scale;
    context.stroke(path);
  }

  /** Boxes, points and the cursor have the same size at every zoom. */
  private paintPrompt(context: CanvasRenderingContext2D): void {
    const { prompt, box, cursor } = this.scene;
    if (box ?? prompt?.box) this.paintBox(context, (box ?? prompt?.box)!);
    prompt?.points.forEach((point, index) => {
      this.paintPoint(context, toStage(this.view, point), prompt.labels[index] === 1);
    });
    if (cursor) paintCursor(context, toStage(this.view, cursor));
  }

  private paintBox(context: CanvasRenderingContext2D, [x1, y1, x2, y2]: Box): void {
    const [left, top] = toStage(this.view, [x1, y1]);
    const [right, bottom] = toStage(this.view, [x2, y2]);
    for (const [style, width] of [
      ["rgb(0 0 0 / 45%)", 3.5],
      ["#fff", 1.5],
    ] as const) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.strokeRect(left, top, right - left, bottom - top);
    }
  }

  private paintPoint(context: CanvasRenderingContext2D, [x, y]: Point, isOf: boolean): void {
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    context.fillStyle = isOf ? "#15803d" : "#b91c1c";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#fff";
    context.stroke();
    context.beginPath();
    context.moveTo(x - 3.5, y);
    context.lineTo(x + 3.5, y);
    if (isOf) {
      context.moveTo(x, y - 3.5);
      context.lineTo(x, y + 3.5);
    }
    context.stroke();
  }
}

function paintCursor(context: CanvasRenderingContext2D, [x, y]: Point): void {
  for (const [style, width] of [
    ["rgb(0 0 0 / 60%)", 4],
    ["#fff", 2],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]] as const) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 16 * dx, y + 16 * dy);
    }
    context.stroke();
  }
}
