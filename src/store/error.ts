/** What the store reports when content does not come in, or is not what its name says. */
import type { Digest } from "../oci/digest.ts";

/** Bytes that do not match the digest or the size they came under. `bytes` is how many there were. */
export class IntegrityError extends Error {
  override readonly name = "IntegrityError";
  readonly expected: Digest;
  readonly found: Digest;
  readonly bytes: number;

  constructor(expected: Digest, found: Digest, bytes: number) {
    super(`${bytes} bytes came as ${expected} but are ${found}`);
    this.expected = expected;
    this.found = found;
    this.bytes = bytes;
  }
}

/** A fill that came to nothing: the upstream did not deliver (`broken`), or the disk did not take it (`disk`). */
export class FillError extends Error {
  override readonly name = "FillError";
  readonly kind: "broken" | "disk";

  constructor(kind: "broken" | "disk", message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
