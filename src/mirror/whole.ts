/** Small blobs that the mirror itself has to read: configs and signatures. */
import type { BlobAnswer } from "./layers.ts";

/** All bytes of a blob, or undefined when they are more than `limit`. The blob is read or closed either way. */
export async function readWhole({ size, content }: BlobAnswer, limit: number): Promise<Buffer | undefined> {
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
    // It is only lent.
    chunks.push(Buffer.from(piece));
  }
  return Buffer.concat(chunks);
}
