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

/**
 * A fill that came to nothing: the upstream did not deliver (`broken`), the disk did not take it (`disk`), nothing more could be
 * evicted for it (`capacity`), or no one wants it (`abandoned`).
 */
export class FillError extends Error {
  override readonly name = "FillError";
  readonly kind: "broken" | "disk" | "capacity" | "abandoned";

  constructor(kind: FillError["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** The store has no space for more, or does not work. */
export type Trouble = "full" | "failing";

/**
 * The store does not answer: the disk is full, a file cannot be read, a database is away. What is held is served then, nothing
 * new is remembered, and readiness says degraded.
 */
export class StoreUnavailableError extends Error {
  override readonly name = "StoreUnavailableError";
  readonly trouble: Trouble;

  constructor(trouble: Trouble, options?: ErrorOptions) {
    super(trouble === "full" ? "the store is full" : "the store does not answer", options);
    this.trouble = trouble;
  }
}

const codes: readonly (readonly [RegExp, Trouble])[] = [
  [/^(?:ENOSPC|EDQUOT)/, "full"],
  [/^(?:EIO|EROFS|EUCLEAN|EACCES)/, "failing"],
];

/** The store's trouble that `error` or one of its causes tells of; undefined when it is about something else. */
export function troubleOf(error: unknown): Trouble | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof StoreUnavailableError) return cause.trouble;
    const { code, syscall } = cause as NodeJS.ErrnoException;
    // A firewall denies access too, but not to the disk.
    if (syscall === "connect") continue;
    const known = codes.find(([pattern]) => pattern.test(code ?? ""));
    if (known) return known[1];
  }
  return undefined;
}

/** Does the disk say by this error that it does not give back what is there? */
export function isUnreadable(error: unknown): boolean {
  return ["EIO", "EUCLEAN", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "");
}
