/** Lists of images as people keep them: one to a line, with blank lines and comments after `#`. */
import { readFileSync } from "node:fs";
import { UsageError } from "./exit.ts";

/** An image as it was written, and where, for those who have to correct it. */
export interface ListedImage {
  readonly image: string;
  /** Such as `images.txt:3`. */
  readonly place: string;
}

/** The images in a text that is called `name`. */
export function readImageList(text: string, name: string): readonly ListedImage[] {
  return text.split(/\r?\n/).flatMap((line, index) => {
    // A byte order mark is white space to trim().
    const image = line.replace(/(?:^|\s)#.*$/, "").trim();
    return image === "" ? [] : [{ image, place: `${name}:${index + 1}` }];
  });
}

/** The images in `file`, or in standard input for `-`. @throws UsageError when it cannot be read. */
export function readImageFile(file: string): readonly ListedImage[] {
  try {
    return readImageList(readFileSync(file === "-" ? 0 : file, "utf8"), file === "-" ? "stdin" : file);
  } catch (error) {
    throw new UsageError(`--file ${file} cannot be read`, { cause: error });
  }
}
