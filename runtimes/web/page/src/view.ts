import type { Point } from "./types";

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** How the picture lies on the stage: `scale` screen pixels a pixel, its corner at `x`, `y`. */
export interface View {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

const MOST_SCALE = 32;

/** The whole picture in the middle of the stage, with a margin, and `below` it room for the tools;
 * small ones are enlarged a little. */
export function fitted(picture: Size, stage: Size, margin = 16, below = 0): View {
  const room = { width: stage.width - 2 * margin, height: stage.height - 2 * margin - below };
  const scales = [room.width / picture.width, room.height / picture.height];
  const scale = Math.max(1e-3, Math.min(...scales, 4));
  return {
    scale,
    x: (stage.width - picture.width * scale) / 2,
    y: (stage.height - below - picture.height * scale) / 2,
  };
}

/** Zoomed by a factor around a point of the stage, which stays where it is. */
export function zoomed(view: View, factor: number, at: Point, picture: Size, stage: Size): View {
  const least = Math.min(fitted(picture, stage).scale, 1) / 2;
  const scale = Math.min(MOST_SCALE, Math.max(least, view.scale * factor));
  const ratio = scale / view.scale;
  const [x, y] = [at[0] - (at[0] - view.x) * ratio, at[1] - (at[1] - view.y) * ratio];
  return kept({ scale, x, y }, picture, stage);
}

export function panned(view: View, dx: number, dy: number, picture: Size, stage: Size): View {
  return kept({ ...view, x: view.x + dx, y: view.y + dy }, picture, stage);
}

/** Moved back so far that some of the picture is on the stage. */
function kept(view: View, picture: Size, stage: Size): View {
  const within = (at: number, side: number, room: number): number => {
    const rest = Math.min(side * view.scale, room) / 2;
    return Math.min(room - rest, Math.max(rest - side * view.scale, at));
  };
  return {
    scale: view.scale,
    x: within(view.x, picture.width, stage.width),
    y: within(view.y, picture.height, stage.height),
  };
}

export function toPicture(view: View, [x, y]: Point): Point {
  return [(x - view.x) / view.scale, (y - view.y) / view.scale];
}

export function toStage(view: View, [x, y]: Point): Point {
  return [x * view.scale + view.x, y * view.scale + view.y];
}

/** The point, or the nearest to it in the picture. */
export function clamped([x, y]: Point, { width, height }: Size): Point {
  return [Math.min(width - 1, Math.max(0, x)), Math.min(height - 1, Math.max(0, y))];
}

export function isInside([x, y]: Point, { width, height }: Size): boolean {
  return x >= 0 && y >= 0 && x < width && y < height;
}
