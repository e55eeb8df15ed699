/** Small blobs that the mirror itself has to read: configs and signatures. */
import { unlessAbsent } from "./errors.ts";
import type { BlobResult } from "./blobPull.ts";

/** All bytes of a blob that was asked for; undefined when it is not there, or larger than `limit`. @throws what asking for it throws otherwise */
export async function readSmall(asked: Promise<BlobResult>, limit: number): Promise<Buffer | undefined> {
  const blob = await unlessAbsent(asked);
  return blob && readWhole(blob, limit);
}

/** The blob is read or closed, whatever comes of it. */
async function readWhole({ size, content }: BlobResult, limit: number): Promise<Buffer | undefined> {
  if (!content) return undefined;
  if (size !== undefined && size > limit) {
    await content.close();
    return undefined;
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const piece of content.pieces()) {
    length += piece.length;
    // An upstream that tells no size may send without end.
    if (length > limit) return undefined;
    // The piece is reused when the next one is read.
    chunks.push(Buffer.from(piece));
  }
  return Buffer.concat(chunks);
}
