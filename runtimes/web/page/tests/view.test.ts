import { expect, test } from "vitest";
import { clamped, fitted, panned, toPicture, toStage, zoomed } from "../src/view";

const picture = { width: 400, height: 200 };
const stage = { width: 800, height: 600 };

test("a picture is fitted in the middle", () => {
  const view = fitted(picture, stage, 0);
  expect(view).toEqual({ scale: 2, x: 0, y: 100 });
  expect(fitted(picture, stage, 0, 200)).toEqual({ scale: 2, x: 0, y: 0 });
  expect(fitted({ width: 10, height: 10 }, stage).scale).toBe(4);
});

test("zooming keeps the point under the pointer", () => {
  const view = fitted(picture, stage);
  const before = toPicture(view, [300, 250]);
  const after = toPicture(zoomed(view, 3, [300, 250], picture, stage), [300, 250]);
  expect(after[0]).toBeCloseTo(before[0]);
  expect(after[1]).toBeCloseTo(before[1]);
});

test("zoom has an end in both directions", () => {
  let view = fitted(picture, stage);
  for (let times = 0; times < 50; times++) view = zoomed(view, 2, [400, 300], picture, stage);
  expect(view.scale).toBe(32);
  for (let times = 0; times < 50; times++) view = zoomed(view, 0.5, [400, 300], picture, stage);
  expect(view.scale).toBe(0.5);
});

test("no pan loses the picture", () => {
  const view = panned(fitted(picture, stage), -1e6, 1e6, picture, stage);
  const [x, y] = toStage(view, [400, 0]);
  expect(x).toBeGreaterThan(100);
  expect(y).toBeLessThan(500);
});

test("points beside the picture come to its edge", () => {
  expect(clamped([-5, 900], picture)).toEqual([0, 199]);
});
