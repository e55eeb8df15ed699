/** Bytes that can be read from any offset, whether they lie on disk or are still on their way in. */
import type { Readable } from "node:stream";
import type { Span } from "../oci/range.ts";

/** How much is read from disk at a time, in bytes: less costs CPU, more costs memory for each stalled reader. */
export const readSize = 256 * 1024;

/** An opened blob. It holds a file open until it is streamed to the end, or closed. */
export interface Content {
  /** The number of bytes, or undefined while an upstream that did not say is still sending. */
  readonly size: number | undefined;
  /** It can only be read from its first byte to its last. */
  readonly fromStart?: true;
  /** The bytes of `span`, or all of them. Called at most once; the stream owns the content from then on. */
  stream(span?: Span): Readable;
  /** Lets go of content that will not be streamed. */
  close(): Promise<void>;
}
