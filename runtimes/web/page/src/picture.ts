import { PageError } from "./errors";

/** An opened picture: `bitmap` to draw, its pixels to segment. */
export interface Picture {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly bitmap: ImageBitmap;
}

/** What browsers can draw, telephones too, and a mask of it fits into memory. */
const MOST_PIXELS = 40_000_000;

/** Decode a picture upright, its colours as they are in the file. */
export async function openPicture(content: Blob, name: string): Promise<Picture> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(content, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new PageError(
      `“${name}” is not a picture that this browser can read; choose a JPEG, PNG or WebP.`,
    );
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    bitmap.close();
    const megapixels = Math.round((width * height) / 1e6);
    throw new PageError(
      `“${name}” has ${megapixels} megapixels; choose one of at most ${MOST_PIXELS / 1e6}.`,
    );
  }
  return { name, width, height, bitmap };
}

/** Takes files as they are asked for, and shows the picture of the last one, whichever comes first. */
export function lastPicture(
  show: (picture: Picture) => void,
  failed: (error: unknown) => void,
): (take: () => File | Promise<File>) => Promise<void> {
  let last = 0;
  return async (take) => {
    const turn = ++last;
    try {
      const file = await take();
      if (turn !== last) return;
      const picture = await openPicture(file, file.name);
      if (turn === last) show(picture);
      else picture.bitmap.close();
    } catch (error) {
      if (turn === last) failed(error);
    }
  };
}

/** All pixels as RGBA bytes. */
export function pixelsOf({ bitmap, width, height }: Picture): ImageData {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new PageError("This browser lends no canvas for the picture; close some tabs.");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
}
