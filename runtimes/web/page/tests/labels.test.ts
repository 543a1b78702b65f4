import { expect, test } from "vitest";
import { coco, stemOf, yolo } from "../src/labels";
import { NONE, withChanged, withNew } from "../src/objects";
import { rleOf } from "./rle";

const square = { rle: rleOf(["....", ".##.", ".##.", "...."]), score: 0.9 };
const nothing = { rle: rleOf(["....", "....", "....", "...."]), score: 0.1 };
const size = { width: 4, height: 4 };
const objects = withChanged(
  withNew(NONE, [square, nothing, square].map((answer) => ({ prompt: null, answer }))),
  3,
  { name: 'a "dog"' },
);

test("COCO", () => {
  const written = JSON.parse(coco(objects, "x.png", size));
  expect(written.images).toEqual([{ id: 1, file_name: "x.png", width: 4, height: 4 }]);
  expect(written.categories.map((one: { name: string }) => one.name)).toEqual(["object", 'a "dog"']);
  expect(written.annotations).toHaveLength(2); // what is empty is no object
  expect(written.annotations[1]).toMatchObject({
    id: 2,
    category_id: 2,
    bbox: [1, 1, 2, 2],
    area: 4,
    segmentation: square.rle,
  });
});

test("YOLO", () => {
  const files = yolo(objects, "folder/x.y.png", size);
  const lines = files.get("labels/x.y.txt")!.trimEnd().split("\n");
  expect(lines).toHaveLength(2);
  expect(lines[1]).toMatch(/^1( 0\.[27]5){8}$/);
  expect(files.get("data.yaml")).toContain('  1: "a \\"dog\\""');
});

test("names of files", () => {
  expect(["a.b.jpg", "x/y.png", ".png", ""].map(stemOf)).toEqual(["a.b", "y", "picture", "picture"]);
});
