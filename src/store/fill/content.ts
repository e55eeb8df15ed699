/** Bytes that can be read from any offset, whether they lie on disk or are still on their way in. */
import type { Span } from "../../oci/range.ts";
import { pool } from "./pool.ts";

/** An opened blob. It holds a file open until it is read to the end, or closed. */
export interface Content {
  /** The number of bytes, or undefined while an upstream that did not say is still sending. */
  readonly size: number | undefined;
  /** It can only be read from its first byte to its last. */
  readonly fromStart?: true;
  /**
   * The bytes of `span`, or all of them. Each piece is only lent, and other bytes are in its place once the next one is
   * asked for, or none. To be called at most once and iterated over, which closes the content; waiting for bytes ends when
   * `left` is aborted. What `sendfile` has sent is not among the pieces.
   */
  pieces(span?: Span, left?: AbortSignal, sendfile?: Sendfile): AsyncIterable<Buffer>;
  /** Lets go of content that will not be read. */
  close(): Promise<void>;
}

/** Sends bytes of an open file, by its descriptor, from `at` on, as far as it can without reading them; how many. */
export type Sendfile = (file: number, at: number, end: number) => Promise<number>;

/** What can be read at an offset: the number of bytes that came. */
type ReadAt = (buffer: Buffer, length: number, position: number) => Promise<number>;

/**
 * Lends the bytes of `[start, end)`, at most a buffer of the pool at a time, but for those that `skip`, asked before each, says
 * are not needed any more. @throws when there are fewer.
 */
export async function* lend(
  readAt: ReadAt,
  start: number,
  end: number,
  skip?: (at: number) => Promise<number>,
): AsyncGenerator<Buffer> {
  for (let at = start; at < end;) {
    if (skip) at += await skip(at);
    if (at === end) return;
    const loan = pool.take();
    try {
      const { buffer } = loan;
      const length = await readAt(buffer, Math.min(buffer.length, end - at), at);
      if (length === 0) throw new Error(`the file ends after ${at} of ${end} bytes`);
      at += length;
      yield length === buffer.length ? buffer : buffer.subarray(0, length);
    } finally {
      loan.giveBack();
    }
  }
}
