/** The bytes of a blob, whether it is held or still being filled. */
import type { Span } from "../../oci/range.ts";
import { pool } from "./pool.ts";

/** An opened blob. It holds a file open until it is read to the end, or closed. */
export interface Content {
  /** The number of bytes, or undefined while an upstream that did not say is still sending. */
  readonly size: number | undefined;
  /** It can only be read from its first byte to its last. */
  readonly fromStart?: true;
  /**
   * The bytes of `span`, or all of them. A piece is valid until the next one is requested: its memory is used again. Call it
   * at most once and iterate over the result, which closes the content; waiting for bytes ends when `left` is aborted. What
   * `sendfile` has sent is not among the pieces.
   */
  pieces(span?: Span, left?: AbortSignal, sendfile?: Sendfile): AsyncIterable<Buffer>;
  /** Closes content that will not be read. */
  close(): Promise<void>;
}

/** Sends bytes of an open file from `at` on, as far as it can without reading them; how many. */
export type Sendfile = (file: number, at: number, end: number) => Promise<number>;

/** Reads at an offset; how many bytes. */
type ReadAt = (buffer: Buffer, length: number, position: number) => Promise<number>;

/**
 * The bytes of `[start, end)` in pieces of at most one buffer of the pool, each valid until the next. `skip` is called before
 * each and gives how many bytes are not needed. @throws when there are fewer.
 */
export async function* pooledPieces(
  readAt: ReadAt,
  start: number,
  end: number,
  skip?: (at: number) => Promise<number>,
): AsyncGenerator<Buffer> {
  for (let at = start; at < end;) {
    if (skip) at += await skip(at);
    if (at === end) return;
    const pooled = pool.take();
    try {
      const { buffer } = pooled;
      const length = await readAt(buffer, Math.min(buffer.length, end - at), at);
      if (length === 0) throw new Error(`the file ends after ${at} of ${end} bytes`);
      at += length;
      yield length === buffer.length ? buffer : buffer.subarray(0, length);
    } finally {
      pooled.release();
    }
  }
}
