/** Bytes that can be read again and from any offset, held in memory, in a file or not at all. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";

/** Readable bytes. `read` takes a half-open range, `[start, end)`. */
export interface Content {
  readonly size: number;
  read(start: number, end: number): Readable;
}

/** The digest of these bytes, as reckoned here and not by what is tested. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Content that is held in memory. */
export function bytesContent(bytes: Uint8Array | string): Content {
  const buffer = Buffer.from(bytes);
  return {
    size: buffer.length,
    read: (start, end) => Readable.from(end > start ? [buffer.subarray(start, end)] : []),
  };
}

/** Content of `size` bytes that is read from a file each time. */
export function fileContent(path: string, size: number): Content {
  return {
    size,
    read: (start, end) =>
      end > start
        ? createReadStream(path, { start, end: end - 1, highWaterMark: 256 * 1024 })
        : Readable.from([]),
  };
}

/** `prefix`, then as many letters `a` as make `size` bytes: made while it is read, so it may be of any size. */
export function floodContent(size: number, prefix = ""): Content {
  const opening = Buffer.from(prefix);
  const filler = Buffer.alloc(64 * 1024, "a");
  function* pieces(start: number, end: number): Generator<Buffer> {
    let at = start;
    while (at < end) {
      const piece =
        at < opening.length
          ? opening.subarray(at, end)
          : filler.subarray(0, Math.min(filler.length, end - at));
      at += piece.length;
      yield piece;
    }
  }
  return { size, read: (start, end) => Readable.from(pieces(start, end)) };
}

/** The same content with one bit of the byte at `offset` turned over. */
export function flippedContent(content: Content, offset: number): Content {
  async function* pieces(start: number, end: number): AsyncGenerator<Buffer> {
    let at = start;
    for await (const piece of content.read(start, end) as AsyncIterable<Buffer>) {
      const inside = offset - at;
      at += piece.length;
      if (inside < 0 || inside >= piece.length) {
        yield piece;
        continue;
      }
      const copy = Buffer.from(piece);
      copy[inside] = (copy[inside] ?? 0) ^ 1;
      yield copy;
    }
  }
  return { size: content.size, read: (start, end) => Readable.from(pieces(start, end)) };
}

/** All bytes of a content, for what is known to be small. */
export async function allBytes(content: Content): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of content.read(0, content.size) as AsyncIterable<Buffer>) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
