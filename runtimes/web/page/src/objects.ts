import type { Answer, Box, Point, Prompt } from "./types";

/** One object that was segmented. `prompt` is what was asked, if it was asked for alone. */
export interface Segment {
  readonly id: number;
  readonly name: string;
  readonly colour: string;
  readonly prompt: Prompt | null;
  readonly answer: Answer;
}

/** All objects of a picture; `active` is the id of the one that clicks refine. */
export interface Objects {
  readonly list: readonly Segment[];
  readonly active: number | null;
}

export const NONE: Objects = { list: [], active: null };
export const UNNAMED = "object";

/** Told apart by people who see few colours too, on light and dark pictures. */
const COLOURS = [
  "#3b82f6",
  "#f97316",
  "#10b981",
  "#e11d8f",
  "#eab308",
  "#8b5cf6",
  "#06b6d4",
  "#ef4444",
  "#84cc16",
  "#a16207",
];

export function activeOf(objects: Objects): Segment | null {
  return objects.list.find(({ id }) => id === objects.active) ?? null;
}

function nextId(objects: Objects): number {
  return 1 + Math.max(0, ...objects.list.map(({ id }) => id));
}

/** With new objects at the end; the last of them is active if they were asked for alone. */
export function withNew(
  objects: Objects,
  found: readonly { prompt: Prompt | null; answer: Answer }[],
): Objects {
  const first = nextId(objects);
  const list = found.map(({ prompt, answer }, index) => {
    const id = first + index;
    return { id, name: UNNAMED, colour: COLOURS[(id - 1) % COLOURS.length]!, prompt, answer };
  });
  const last = list[list.length - 1];
  return { list: [...objects.list, ...list], active: last?.prompt ? last.id : null };
}

export function withChanged(objects: Objects, id: number, change: Partial<Segment>): Objects {
  const list = objects.list.map((one) => (one.id === id ? { ...one, ...change } : one));
  return { ...objects, list };
}

export function without(objects: Objects, id: number): Objects {
  const list = objects.list.filter((one) => one.id !== id);
  return { list, active: objects.active === id ? null : objects.active };
}

export function withActive(objects: Objects, active: number | null): Objects {
  return { ...objects, active };
}

/** What to ask when a click is added to `prompt`; an object that was found among everything is
 * asked for again by its box. */
export function withClick(prompt: Prompt | null, at: Point, label: 0 | 1, found?: Box): Prompt {
  const base: Prompt = prompt ?? { points: [], labels: [], ...(found && { box: found }) };
  return { ...base, points: [...base.points, at], labels: [...base.labels, label] };
}

/** The different names of the objects, in the order of the list. */
export function namesOf(objects: Objects): string[] {
  return [...new Set(objects.list.map(({ name }) => name))];
}
