import { cropOf } from "./crop";
import { PageError } from "./errors";
import { coco, stemOf, yolo } from "./labels";
import { activeOf, type Objects, type Segment } from "./objects";
import type { Picture } from "./picture";
import { zip } from "./zip";

/** What may be downloaded, by the name that its button has. */
export const DOWNLOADS: Record<string, (picture: Picture, objects: Objects) => Promise<void>> = {
  mask: async (picture, objects) => save(`${stemOf(picture.name)}_mask.png`, await mask(picture, chosen(objects))),
  cutout: async (picture, objects) => save(`${stemOf(picture.name)}_cutout.png`, await cutout(picture, chosen(objects))),
  coco: async (picture, objects) => {
    const text = coco(objects, picture.name, picture);
    save(`${stemOf(picture.name)}_coco.json`, new Blob([text], { type: "application/json" }));
  },
  yolo: async (picture, objects) => save(`${stemOf(picture.name)}_yolo.zip`, zip(yolo(objects, picture.name, picture))),
};

/** Pictures are of the active object, or of all where none is. */
export function chosen(objects: Objects): readonly Segment[] {
  const active = activeOf(objects);
  return active ? [active] : objects.list;
}

/** White where an object is, black elsewhere. */
async function mask(picture: Picture, objects: readonly Segment[]): Promise<Blob> {
  const pixels = new ImageData(picture.width, picture.height);
  new Uint32Array(pixels.data.buffer).fill(0xff000000);
  eachPixel(pixels, objects, (data, at) => data.fill(255, at, at + 3));
  return png(pixels);
}

/** The picture where an object is, transparent elsewhere. */
async function cutout(picture: Picture, objects: readonly Segment[]): Promise<Blob> {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d")!;
  context.drawImage(picture.bitmap, 0, 0);
  const source = context.getImageData(0, 0, picture.width, picture.height).data;
  const pixels = new ImageData(picture.width, picture.height);
  eachPixel(pixels, objects, (data, at) => data.set(source.subarray(at, at + 4), at));
  return png(pixels);
}

function eachPixel(
  { data, width }: ImageData,
  objects: readonly Segment[],
  take: (data: Uint8ClampedArray, at: number) => void,
): void {
  for (const { answer } of objects) {
    const crop = cropOf(answer.rle);
    crop?.bits.forEach((bit, index) => {
      const [x, y] = [crop.x + (index % crop.width), crop.y + Math.floor(index / crop.width)];
      if (bit) take(data, 4 * (y * width + x));
    });
  }
}

async function png(pixels: ImageData): Promise<Blob> {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d")!.putImageData(pixels, 0, 0);
  try {
    return await canvas.convertToBlob({ type: "image/png" });
  } catch {
    throw new PageError("This browser has no memory left for the picture; close some tabs.");
  }
}

function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
