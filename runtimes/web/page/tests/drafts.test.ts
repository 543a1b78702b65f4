import { expect, test } from "vitest";
import { Drafts, type Draft } from "../src/drafts";
import { NONE, withNew } from "../src/objects";
import type { Answer, Prompt } from "../src/types";

const answer: Answer = { rle: { size: [1, 1], counts: "01" }, score: 1 };
const none = (): undefined => undefined;

/** Drafts whose answers come when the test says so. */
function slow(): { drafts: Drafts; asked: Prompt[]; reply(): Promise<void>; done: Draft[]; errors: unknown[]; fail(): Promise<void> } {
  const asked: Prompt[] = [];
  const done: Draft[] = [];
  const errors: unknown[] = [];
  let settle: { resolve(answer: Answer): void; reject(error: Error): void } | undefined;
  const drafts = new Drafts(
    (prompt) => {
      asked.push(prompt);
      return new Promise((resolve, reject) => (settle = { resolve, reject }));
    },
    (draft) => done.push(draft),
    (error) => errors.push(error),
  );
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));
  return {
    drafts, asked, done, errors,
    reply: () => (settle?.resolve(answer), turn()),
    fail: () => (settle?.reject(new Error("no")), turn()),
  };
}

test("clicks that are faster than answers become one prompt", async () => {
  const { drafts, asked, done, reply } = slow();
  drafts.click([1, 1], 1, NONE, none);
  drafts.click([2, 2], 0, NONE, none);
  await reply();
  expect(done).toEqual([]); // the first answer is out of date
  await reply();
  expect(asked.map(({ points }) => points.length)).toEqual([1, 2]);
  expect(done.map(({ prompt }) => prompt.labels)).toEqual([[1, 0]]);
  expect(drafts.waiting).toBe(false);
});

test("a click after the end of an object is about another one", async () => {
  const { drafts, done, reply } = slow();
  drafts.click([1, 1], 1, NONE, none);
  drafts.close();
  drafts.click([2, 2], 1, NONE, none);
  drafts.box([0, 0, 5, 5]);
  await reply();
  await reply();
  await reply();
  expect(done.map(({ closed, target }) => [closed, target])).toEqual([[true, null], [true, null], [false, null]]);
});

test("a click refines the active object", async () => {
  const { drafts, done, reply } = slow();
  const objects = withNew(NONE, [{ prompt: { points: [[1, 1]], labels: [1] }, answer }]);
  drafts.click([2, 2], 0, objects, none);
  await reply();
  expect(done[0]).toMatchObject({ target: objects.active, prompt: { labels: [1, 0] } });
});

test("what fails after another click leaves that one waiting", async () => {
  const { drafts, asked, done, errors, reply, fail } = slow();
  drafts.click([1, 1], 1, NONE, none);
  drafts.click([2, 2], 1, NONE, none);
  await fail();
  expect([errors.length, drafts.waiting, asked.length]).toEqual([0, true, 2]);
  await reply();
  expect(done.map(({ prompt }) => prompt.points.length)).toEqual([2]);
  drafts.click([1, 1], 1, NONE, none);
  drafts.drop();
  await fail();
  expect([errors.length, drafts.waiting]).toEqual([0, false]);
});

test("what is dropped is never done, and a failure ends what waits", async () => {
  const { drafts, done, errors, reply, fail } = slow();
  drafts.click([1, 1], 1, NONE, none);
  drafts.drop();
  await reply();
  expect(done).toEqual([]);
  drafts.click([1, 1], 1, NONE, none);
  await fail();
  expect([errors.length, drafts.waiting]).toEqual([1, false]);
  drafts.click([1, 1], 1, NONE, none);
  await reply();
  expect(done).toHaveLength(1);
});
