import type { Tool } from "./tools";

export interface KeyActions {
  /** Move the cross, in pixels of the screen. */
  move(dx: number, dy: number): void;
  /** What a click does, at the cross. */
  press(shift: boolean): void;
  space(held: boolean): void;
  tool(tool: Tool): void;
  everything(): void;
  escape(): void;
  finish(): void;
  remove(): void;
  undo(): void;
  redo(): void;
  /** 0 shows all of the picture. */
  zoom(factor: number): void;
  open(): void;
}

const [STEP, SMALL_STEP] = [16, 2];
const TOOLS: Record<string, Tool> = { a: "add", r: "remove", b: "box", v: "move" };

/** Tell `act` which keys are pressed; writing in fields is left alone. */
export function listenToKeys(canvas: HTMLElement, act: KeyActions): void {
  const single: Record<string, () => void> = {
    e: act.everything,
    n: act.finish,
    o: act.open,
    escape: act.escape,
    delete: act.remove,
    backspace: act.remove,
    "+": () => act.zoom(1.4),
    "=": () => act.zoom(1.4),
    "-": () => act.zoom(1 / 1.4),
    "0": () => act.zoom(0),
  };
  const arrows: Record<string, readonly [number, number]> = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  };

  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    const key = event.key.toLowerCase();
    if (target.matches("select, input") && key !== "escape") return;
    const onPicture = target === canvas || target === document.body;
    if (event.ctrlKey || event.metaKey) {
      const steps = { z: event.shiftKey ? act.redo : act.undo, y: act.redo }[key];
      if (!steps) return;
      event.preventDefault();
      steps();
      return;
    }
    const arrow = arrows[event.key];
    const tool = TOOLS[key];
    if (event.altKey) return;
    if (arrow && target === canvas) {
      const step = event.shiftKey ? SMALL_STEP : STEP;
      act.move(arrow[0] * step, arrow[1] * step);
    } else if (event.key === "Enter" && target === canvas) {
      act.press(event.shiftKey);
    } else if (event.key === " " && onPicture) {
      act.space(true);
    } else if (tool) {
      act.tool(tool);
    } else if (single[key]) {
      single[key]();
    } else {
      return;
    }
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") act.space(false);
  });
}
