import { expect, test } from "vitest";
import { History } from "../src/history";

test("undo and redo", () => {
  const history = new History(0);
  history.push(1);
  history.push(2);
  history.undo();
  expect(history.present).toBe(1);
  history.redo();
  expect(history.present).toBe(2);
  expect(history.canRedo).toBe(false);
});

test("a new state ends what could be done again, and the ends are firm", () => {
  const history = new History("a");
  history.undo();
  history.push("b");
  history.undo();
  history.push("c");
  history.redo();
  expect(history.present).toBe("c");
  history.replace("d");
  history.undo();
  expect([history.present, history.canUndo]).toEqual(["a", false]);
});
