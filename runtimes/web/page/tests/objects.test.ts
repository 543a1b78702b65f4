import { expect, test } from "vitest";
import { activeOf, namesOf, NONE, withChanged, withClick, withNew, without } from "../src/objects";
import type { Answer, Prompt } from "../src/types";

const answer: Answer = { rle: { size: [1, 1], counts: "01" }, score: 0.9 };
const prompt: Prompt = { points: [[1, 2]], labels: [1] };

test("what was asked for is active, what was found among everything is not", () => {
  const one = withNew(NONE, [{ prompt, answer }]);
  expect(activeOf(one)?.prompt).toBe(prompt);
  const three = withNew(one, [
    { prompt: null, answer },
    { prompt: null, answer },
  ]);
  expect([three.list.length, three.active]).toEqual([3, null]);
  expect(new Set(three.list.map(({ colour }) => colour)).size).toBe(3);
});

test("ids are not used again while one of them is there", () => {
  const two = withNew(withNew(NONE, [{ prompt, answer }]), [{ prompt, answer }]);
  const again = withNew(without(two, 1), [{ prompt, answer }]);
  expect(again.list.map(({ id }) => id)).toEqual([2, 3]);
});

test("removing the active object leaves none active", () => {
  const one = withNew(NONE, [{ prompt, answer }]);
  expect(without(one, one.active!)).toEqual(NONE);
});

test("a click adds to a prompt; without one it asks about the box that was found", () => {
  expect(withClick(prompt, [3, 4], 0)).toEqual({ points: [[1, 2], [3, 4]], labels: [1, 0] });
  const found = withClick(null, [3, 4], 0, [0, 0, 9, 9]);
  expect(found).toEqual({ points: [[3, 4]], labels: [0], box: [0, 0, 9, 9] });
});

test("names are in the order of the list, each once", () => {
  let objects = withNew(NONE, [1, 2, 3].map(() => ({ prompt: null, answer })));
  objects = withChanged(objects, 1, { name: "cat" });
  objects = withChanged(objects, 3, { name: "cat" });
  expect(namesOf(objects)).toEqual(["cat", "object"]);
});
