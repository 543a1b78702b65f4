import { beforeEach, expect, test, vi } from "vitest";
import { lastPicture, type Picture } from "../src/picture";

interface Bitmap {
  name: string;
  closed: boolean;
}
let bitmaps: Bitmap[];
/** Ends the decoding of a file. */
let decode: Map<string, () => void>;

beforeEach(() => {
  bitmaps = [];
  decode = new Map();
  vi.stubGlobal("createImageBitmap", ({ name }: File) => {
    const bitmap = { name, width: 2, height: 1, closed: false, close: () => (bitmap.closed = true) };
    bitmaps.push(bitmap);
    return new Promise((resolve, reject) => {
      decode.set(name, () => (name.endsWith(".txt") ? reject(new Error("no")) : resolve(bitmap)));
    });
  });
});

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

/** What is shown and what fails, by name. */
function page(): { take: ReturnType<typeof lastPicture>; shown: string[]; errors: unknown[] } {
  const shown: string[] = [];
  const errors: unknown[] = [];
  return { take: lastPicture(({ name }: Picture) => shown.push(name), (error) => errors.push(error)), shown, errors };
}

test("a picture that is decoded after a newer one is closed, not shown", async () => {
  const { take, shown, errors } = page();
  void take(() => new File([], "large.jpg"));
  await turn();
  void take(() => new File([], "small.jpg"));
  await turn();
  decode.get("small.jpg")!();
  await turn();
  decode.get("large.jpg")!();
  await turn();
  expect(shown).toEqual(["small.jpg"]);
  expect(bitmaps.map(({ name, closed }) => [name, closed])).toEqual([["large.jpg", true], ["small.jpg", false]]);
  expect(errors).toEqual([]);
});

test("a picture that comes after a newer one was asked for is not even decoded", async () => {
  const { take, shown } = page();
  let arrive!: (file: File) => void;
  void take(() => new Promise<File>((resolve) => (arrive = resolve)));
  void take(() => new File([], "dropped.jpg"));
  await turn();
  arrive(new File([], "sample.jpg"));
  decode.get("dropped.jpg")!();
  await turn();
  expect(shown).toEqual(["dropped.jpg"]);
  expect(bitmaps.map(({ name }) => name)).toEqual(["dropped.jpg"]);
});

test("only the last one's failure is told", async () => {
  const { take, shown, errors } = page();
  void take(() => new File([], "old.txt"));
  await turn();
  void take(() => new File([], "new.txt"));
  await turn();
  decode.get("old.txt")!();
  await turn();
  expect(errors).toEqual([]);
  decode.get("new.txt")!();
  await turn();
  expect(errors).toEqual([expect.objectContaining({ message: expect.stringContaining("new.txt") })]);
  expect(shown).toEqual([]);
});
