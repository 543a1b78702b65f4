import type { Point } from "./types";

export interface Pressed {
  /** Shift or the like: the other meaning of a click. */
  readonly shift: boolean;
  readonly touch: boolean;
}

/** What hands and wheels mean; all points are of the element. */
export interface Gestures {
  /** Whether a drag that begins here draws a box; else it moves the picture. */
  drawsBoxes(pressed: Pressed): boolean;
  hover(at: Point | null): void;
  tap(at: Point, pressed: Pressed): void;
  /** A box that is being drawn, and at its end. */
  box(from: Point, to: Point, finished: boolean): void;
  boxLost(): void;
  pan(dx: number, dy: number): void;
  zoom(factor: number, at: Point): void;
}

/** Pixels that a hand may tremble within a click. */
const TREMBLE = { mouse: 4, touch: 10 };

interface Press {
  readonly start: Point;
  last: Point;
  readonly shift: boolean;
  readonly touch: boolean;
  readonly means: "tap" | "pan";
  dragging: "box" | "pan" | null;
}

/** Tell `gestures` what is done to `element`, until the page ends. */
export function listen(element: HTMLElement, gestures: Gestures, panKey: () => boolean): void {
  const presses = new Map<number, Press>();
  let pinched = false; // fingers that pinch do not tap when they are lifted one by one

  const pointOf = (event: MouseEvent): Point => {
    const { left, top } = element.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    element.setPointerCapture(event.pointerId);
    const start = pointOf(event);
    const touch = event.pointerType === "touch";
    const means = event.button === 1 || panKey() ? "pan" : "tap";
    const shift = event.shiftKey;
    presses.set(event.pointerId, { start, last: start, shift, touch, means, dragging: null });
    if (event.button === 1) event.preventDefault();
    if (presses.size === 2) {
      pinched = true;
      if ([...presses.values()].some(({ dragging }) => dragging === "box")) gestures.boxLost();
    }
  });

  element.addEventListener("pointermove", (event) => {
    const at = pointOf(event);
    const press = presses.get(event.pointerId);
    if (!press) {
      if (event.pointerType !== "touch") gestures.hover(at);
      return;
    }
    if (presses.size >= 2) pinch(presses, event.pointerId, at, gestures);
    else if (!pinched) drag(press, at, gestures);
    press.last = at;
  });

  const release = (event: PointerEvent, finished: boolean): void => {
    const press = presses.get(event.pointerId);
    presses.delete(event.pointerId);
    if (!press) return;
    if (!pinched && finished) {
      const at = pointOf(event);
      if (press.dragging === "box") gestures.box(press.start, at, true);
      else if (!press.dragging && press.means === "tap") gestures.tap(press.start, press);
    } else if (press.dragging === "box") gestures.boxLost();
    if (!presses.size) pinched = false;
  };
  element.addEventListener("pointerup", (event) => release(event, true));
  element.addEventListener("pointercancel", (event) => release(event, false));
  element.addEventListener("pointerleave", () => gestures.hover(null));
  element.addEventListener("contextmenu", (event) => {
    if (presses.size) event.preventDefault(); // a long press of a finger
  });
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      // A pinch on a touchpad comes as a wheel with the control key, in small steps.
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      const step = Math.max(-50, Math.min(50, event.deltaY * lines));
      gestures.zoom(Math.exp(-step * (event.ctrlKey ? 0.012 : 0.004)), pointOf(event));
    },
    { passive: false },
  );
}

function drag(press: Press, at: Point, gestures: Gestures): void {
  if (!press.dragging) {
    const moved = Math.hypot(at[0] - press.start[0], at[1] - press.start[1]);
    if (moved < (press.touch ? TREMBLE.touch : TREMBLE.mouse)) return;
    press.dragging = press.means === "tap" && gestures.drawsBoxes(press) ? "box" : "pan";
  }
  if (press.dragging === "box") gestures.box(press.start, at, false);
  else gestures.pan(at[0] - press.last[0], at[1] - press.last[1]);
}

function pinch(presses: Map<number, Press>, moved: number, at: Point, gestures: Gestures): void {
  const other = [...presses].find(([id]) => id !== moved)?.[1];
  const press = presses.get(moved);
  if (!other || !press) return;
  const distance = ([x, y]: Point): number => Math.hypot(x - other.last[0], y - other.last[1]);
  const middle = ([x, y]: Point): Point => [(x + other.last[0]) / 2, (y + other.last[1]) / 2];
  const [from, to] = [middle(press.last), middle(at)];
  gestures.pan(to[0] - from[0], to[1] - from[1]);
  if (distance(press.last) > 0) gestures.zoom(distance(at) / distance(press.last), to);
}
