/** Small blobs that the mirror itself has to read: configs and signatures. */
import { Semaphore } from "../async/concurrency.ts";
import type { Content } from "../store/fill/content.ts";
import type { BlobResult } from "./blobPull.ts";
import { unlessAbsent } from "./errors.ts";

/** How many are in memory at once. What can be read only once has places of its own: its upstream says how long it takes. */
const reading = { again: new Semaphore(6), once: new Semaphore(2) } as const;

/**
 * All bytes of a blob; undefined when it is not there, or larger than `limit`. Memory is taken only once all of it is on disk,
 * where it can be stored. @throws what `get` throws otherwise
 */
export async function readSmall(get: () => Promise<BlobResult>, limit: number): Promise<Buffer | undefined> {
  const first = await unlessAbsent(get());
  if (!first?.content) return undefined;
  const { outcome, content } = first;
  if (content.fromStart) return reading.once.run(() => readWhole(content, limit));
  if (outcome !== "hit" && !(await hasCome(content, limit))) return undefined;
  return reading.again.run(async () => {
    const whole = outcome === "hit" ? first : await unlessAbsent(get());
    return whole?.content && readWhole(whole.content, limit);
  });
}

/** Waits for a blob that is on its way; false when it is larger than `limit`. */
async function hasCome(content: Content, limit: number): Promise<boolean> {
  if ((content.size ?? 0) > limit) {
    await content.close();
    return false;
  }
  let length = 0;
  for await (const piece of content.pieces()) {
    length += piece.length;
    // An upstream that tells no size may send without end.
    if (length > limit) return false;
  }
  return true;
}

/** The content is read or closed, whatever comes of it. */
async function readWhole(content: Content, limit: number): Promise<Buffer | undefined> {
  const { size = limit } = content;
  if (size > limit) {
    await content.close();
    return undefined;
  }
  const bytes = Buffer.allocUnsafe(size);
  let length = 0;
  for await (const piece of content.pieces()) {
    if (length + piece.length > size) return undefined;
    // The piece is reused when the next one is read.
    bytes.set(piece, length);
    length += piece.length;
  }
  return bytes.subarray(0, length);
}
