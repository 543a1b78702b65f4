import { cropOf } from "./crop";
import { namesOf, type Objects } from "./objects";
import { joined, ringsOf } from "./outline";
import type { Size } from "./view";

/** The objects of a picture as a COCO file; masks are run lengths, which are exact. */
export function coco(objects: Objects, fileName: string, size: Size): string {
  const names = namesOf(objects);
  const annotations = objects.list.flatMap(({ name, answer }) => {
    const crop = cropOf(answer.rle);
    if (!crop) return [];
    return {
      image_id: 1,
      category_id: names.indexOf(name) + 1,
      segmentation: answer.rle,
      area: crop.area,
      bbox: [crop.x, crop.y, crop.width, crop.height],
      iscrowd: 0,
      score: answer.score,
    };
  });
  return JSON.stringify({
    images: [{ id: 1, file_name: fileName, width: size.width, height: size.height }],
    categories: names.map((name, index) => ({ id: index + 1, name, supercategory: "" })),
    annotations: annotations.map((one, index) => ({ id: index + 1, ...one })),
  });
}

/** The same as files of YOLO segmentation: outlines as shares of width and height. */
export function yolo(objects: Objects, fileName: string, size: Size): Map<string, string> {
  const names = namesOf(objects);
  const lines = objects.list.flatMap(({ name, answer }) => {
    const crop = cropOf(answer.rle);
    if (!crop) return [];
    const ring = joined(ringsOf(crop));
    const numbers = ring.map(([x, y]) => `${share(x, size.width)} ${share(y, size.height)}`);
    return `${names.indexOf(name)} ${numbers.join(" ")}\n`;
  });
  // Quoted as in JSON, which YAML reads the same way.
  const classes = names.map((name, index) => `  ${index}: ${JSON.stringify(name)}\n`);
  return new Map([
    [`labels/${stemOf(fileName)}.txt`, lines.join("")],
    ["data.yaml", `train: images\nval: images\nnames:\n${classes.join("")}`],
  ]);
}

function share(value: number, side: number): string {
  return String(Math.round((value / side) * 1e6) / 1e6);
}

/** A file's name without folder and suffix. */
export function stemOf(fileName: string): string {
  return fileName.replace(/^.*[/\\]/, "").replace(/\.[^.]*$/, "") || "picture";
}

