import { InputError, reason } from "./errors.js";
import type { Size } from "./geometry.js";
import type { Rgb } from "./resize.js";

/** RGBA bytes, row by row, alpha not multiplied in: an `ImageData` is one. */
export interface RgbaImage {
  readonly data: Uint8ClampedArray | Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** What a canvas can draw. */
export type Drawable = HTMLCanvasElement | OffscreenCanvas | ImageBitmap | HTMLImageElement | HTMLVideoElement | VideoFrame;
export type ImageSource = RgbaImage | Drawable;

const mostPixels = 2 ** 28;

/** The pixels of an image as RGBA; what is drawable is read through a canvas, at its own size. */
export function toRgba(image: ImageSource): RgbaImage {
  if (isRgba(image)) return image;
  const [height, width] = drawnSize(image);
  try {
    const canvas: OffscreenCanvas | HTMLCanvasElement =
      typeof OffscreenCanvas === "undefined"
        ? Object.assign(document.createElement("canvas"), { width, height })
        : new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  } catch (error) {
    throw new InputError(`the pixels of the image cannot be read (${reason(error)}); load it from the page's own origin.`);
  }
}

/** Alpha is dropped: colours are taken as they are stored. */
export function toRgb(image: ImageSource): Rgb {
  const { data, width, height } = toRgba(image);
  if (!(width >= 1 && height >= 1) || width * height > mostPixels || data.length !== 4 * width * height) {
    throw new InputError(
      `an image of ${width} x ${height} pixels with ${data.length} bytes; expected RGBA, four bytes a pixel, of at most ${mostPixels} pixels.`,
    );
  }
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from]!;
    rgb[to++] = data[from + 1]!;
    rgb[to++] = data[from + 2]!;
  }
  return { data: rgb, size: [height, width] };
}

/** A part of an image; `box` x1 y1 x2 y2, its end not included. */
export function cropped(image: Rgb, [x1, y1, x2, y2]: readonly [number, number, number, number]): Rgb {
  const [height, width] = image.size;
  if (x1 === 0 && y1 === 0 && x2 === width && y2 === height) return image;
  const data = new Uint8Array(3 * (y2 - y1) * (x2 - x1));
  for (let y = y1; y < y2; y++) {
    data.set(image.data.subarray(3 * (y * width + x1), 3 * (y * width + x2)), 3 * (y - y1) * (x2 - x1));
  }
  return { data, size: [y2 - y1, x2 - x1] };
}

function isRgba(image: ImageSource): image is RgbaImage {
  return typeof image === "object" && image !== null && ArrayBuffer.isView((image as RgbaImage).data);
}

function drawnSize(image: Drawable): Size {
  const { naturalWidth, naturalHeight, videoWidth, videoHeight, displayWidth, displayHeight, width, height } =
    (image ?? {}) as unknown as Partial<Record<string, number>>;
  const size = [
    naturalHeight ?? videoHeight ?? displayHeight ?? height,
    naturalWidth ?? videoWidth ?? displayWidth ?? width,
  ];
  if (!size.every((side) => typeof side === "number" && side >= 1)) {
    throw new InputError("what was given is no image with pixels; expected ImageData, RGBA bytes, or what a canvas can draw.");
  }
  return size as unknown as Size;
}
