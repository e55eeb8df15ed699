/** Reading content whole, for what is known to be small. */
import type { Span } from "../../src/oci/range.ts";
import type { Content } from "../../src/store/fill/content.ts";

/** A copy of the bytes of `span`, or all of them: each piece is only lent. */
export async function bytesOf(content: Content | undefined, span?: Span): Promise<Buffer> {
  if (!content) throw new Error("there is no such content");
  const copies: Buffer[] = [];
  for await (const piece of content.pieces(span)) copies.push(Buffer.from(piece));
  return Buffer.concat(copies);
}
